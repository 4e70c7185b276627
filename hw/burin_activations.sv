// The activation registers: written Vec elements at a time, read Taps at a time.
//
// Timing: a word written in cycle c (write_i) can be read from c + 1 on; read_i with index_i in cycle c, a_o from c + 1 on.
module burin_activations #(
    parameter int unsigned Size = 64,  // elements, a multiple of Vec and of Taps
    parameter int unsigned Vec = 16,
    parameter int unsigned Taps = 8,
    parameter int unsigned IndexWidth = 16
) (
    input  logic                  clk_i,
    input  logic                  write_i,
    input  logic [IndexWidth-1:0] write_index_i,
    input  logic [     Vec*8-1:0] a_i,
    input  logic                  read_i,
    input  logic [IndexWidth-1:0] index_i,
    output logic [    Taps*8-1:0] a_o
);
  localparam int unsigned Unit = Vec < Taps ? Vec : Taps;
  localparam int unsigned Writes = Vec / Unit;   // units that a write fills
  localparam int unsigned Reads = Taps / Unit;   // units that a read takes
  localparam int unsigned Depth = Size / (Unit * Writes * Reads);
  localparam int unsigned AddrWidth = Depth > 1 ? $clog2(Depth) : 1;

  logic [Writes*Reads*Unit*8-1:0] row;
  logic [AddrWidth-1:0] write_addr, addr;

  assign write_addr = AddrWidth'(32'(write_index_i) / Reads);
  assign addr = AddrWidth'(32'(index_i) / Writes);

  for (genvar w = 0; w < Writes; w++) begin : gen_write
    for (genvar r = 0; r < Reads; r++) begin : gen_read
      logic [Unit*8-1:0] mem[0:Depth-1];
      always_ff @(posedge clk_i) begin
        if (write_i && 32'(write_index_i) % Reads == r) mem[write_addr] <= a_i[w*Unit*8+:Unit*8];
      end
      assign row[(w*Reads+r)*Unit*8+:Unit*8] = mem[addr];
    end
  end

  always_ff @(posedge clk_i) begin
    if (read_i) a_o <= row[(32'(index_i)%Writes)*Taps*8+:Taps*8];
  end
endmodule
