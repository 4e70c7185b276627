// A memory with a port to write and a port to read: Depth words of Width bits.
//
// Timing: a word written in cycle c can be read from c + 1 on; read_i with read_addr_i in cycle c, data_o from c + 1 on until the
// next read.
module burin_ram #(
    parameter int unsigned Width = 8,
    parameter int unsigned Depth = 2,
    localparam int unsigned AddrWidth = Depth > 1 ? $clog2(Depth) : 1
) (
    input  logic                 clk_i,
    input  logic                 write_i,
    input  logic [AddrWidth-1:0] write_addr_i,
    input  logic [    Width-1:0] data_i,
    input  logic                 read_i,
    input  logic [AddrWidth-1:0] read_addr_i,
    output logic [    Width-1:0] data_o
);
  logic [Width-1:0] mem[0:Depth-1];

  always_ff @(posedge clk_i) begin
    if (write_i) mem[write_addr_i] <= data_i;
    if (read_i) data_o <= mem[read_addr_i];
  end
endmodule
