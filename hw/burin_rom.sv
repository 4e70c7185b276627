// A mask ROM: one word of Width bits at each of Depth addresses, read in one cycle.
//
// Timing: en_i and addr_i in cycle c, data_o from cycle c + 1 on until the next read.
module burin_rom #(
    parameter int unsigned Width = 8,
    parameter int unsigned Depth = 2,
    parameter int unsigned AddrWidth = Depth > 1 ? $clog2(Depth) : 1,
    parameter ImageFile = "rom/rom.hex"
) (
    input  logic                 clk_i,
    input  logic                 en_i,
    input  logic [AddrWidth-1:0] addr_i,
    output logic [Width-1:0]     data_o
);
  logic [Width-1:0] mem[0:Depth-1];
  initial $readmemh(ImageFile, mem);

  always_ff @(posedge clk_i) begin
    if (en_i) data_o <= mem[addr_i];
  end
endmodule
