// One slot of a KV cache: keys and values of one key-value head at every Scan-th position, with their steps.
//
// A row holds HeadDim elements of 8 bits, written a part at a time; steps are {e (7), u (9)}.
// Timing: a write in cycle c can be read from c + 1 on; en and address in cycle c, data from c + 1 on.
module burin_kv #(
    parameter int unsigned Depth = 8,
    parameter int unsigned ChunkBits = 128,
    parameter int unsigned Parts = 1,
    parameter int unsigned PartWidth = 1,
    localparam int unsigned AddrWidth = Depth > 1 ? $clog2(Depth) : 1
) (
    input  logic                       clk_i,
    input  logic                       write_k_i,
    input  logic                       write_v_i,
    input  logic [      AddrWidth-1:0] write_addr_i,
    input  logic [      PartWidth-1:0] part_i,
    input  logic [      ChunkBits-1:0] data_i,
    input  logic [               15:0] step_i,
    input  logic                       read_k_i,
    input  logic                       read_v_i,
    input  logic                       read_steps_i,
    input  logic [      AddrWidth-1:0] k_addr_i,
    input  logic [      AddrWidth-1:0] v_addr_i,
    input  logic [      AddrWidth-1:0] steps_addr_i,
    output logic [Parts*ChunkBits-1:0] k_o,
    output logic [Parts*ChunkBits-1:0] v_o,
    output logic [               15:0] k_step_o,
    output logic [               15:0] v_step_o
);
  logic [15:0] k_step[0:Depth-1];
  logic [15:0] v_step[0:Depth-1];

  for (genvar p = 0; p < Parts; p++) begin : gen_part
    logic [ChunkBits-1:0] k[0:Depth-1];
    logic [ChunkBits-1:0] v[0:Depth-1];
    always_ff @(posedge clk_i) begin
      if (write_k_i && 32'(part_i) == p) k[write_addr_i] <= data_i;
      if (write_v_i && 32'(part_i) == p) v[write_addr_i] <= data_i;
      if (read_k_i) k_o[p*ChunkBits+:ChunkBits] <= k[k_addr_i];
      if (read_v_i) v_o[p*ChunkBits+:ChunkBits] <= v[v_addr_i];
    end
  end

  always_ff @(posedge clk_i) begin
    if (write_k_i) k_step[write_addr_i] <= step_i;
    if (write_v_i) v_step[write_addr_i] <= step_i;
    if (read_steps_i) begin
      k_step_o <= k_step[steps_addr_i];
      v_step_o <= v_step[steps_addr_i];
    end
  end
endmodule
