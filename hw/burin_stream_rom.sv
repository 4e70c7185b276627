// A ROM that is read from its first word to its last, once a token: its address is a counter.
//
// Timing: begin_i goes back to the first word; read_i in cycle c, word_o from c + 1 on.
module burin_stream_rom #(
    parameter int unsigned Width = 8,
    parameter int unsigned Depth = 2,
    parameter ImageFile = "rom/rom.hex"
) (
    input  logic             clk_i,
    input  logic             begin_i,
    input  logic             read_i,
    output logic [Width-1:0] word_o
);
  localparam int unsigned AddrWidth = Depth > 1 ? $clog2(Depth) : 1;

  logic [AddrWidth-1:0] addr_q;

  always_ff @(posedge clk_i) begin
    if (begin_i) addr_q <= '0;
    else if (read_i) addr_q <= addr_q + 1'b1;
  end

  burin_rom #(
      .Width(Width),
      .Depth(Depth),
      .ImageFile(ImageFile)
  ) u_rom (
      .clk_i,
      .en_i(read_i),
      .addr_i(addr_q),
      .data_o(word_o)
  );
endmodule
