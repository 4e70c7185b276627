// A token's row of two words of four elements of 3 bits.
module embed_tb;
  localparam int Vec = 4, Words = 2, WordBits = Vec * 32;
  localparam int InWidth = 6, OutWidth = Words * WordBits, Latency = 7, Gap = 8;
  localparam string Name = "embed";
  `include "driver.svh"
  logic [4:0] at = '0;
  logic done, last;
  logic [1:0] word;
  logic [WordBits-1:0] y;
  logic [OutWidth-1:0] all = '0;
  always @(posedge clk) at <= {at[3:0], valid};
  burin_embed #(.Vec(Vec), .IndexWidth(2), .Vocab(64), .DimWords(Words), .Bits(3), .Levels(8), .Level(64'h1f_13_08_03_fe_f7_ef_e1), .Shift(10'sd1),
                .ImageCodes("embed_codes.hex"), .ImageRows("embed_rows.hex")) u_dut (
      .clk_i(clk), .rst_i(rst), .go_i(valid), .token_i(in), .valid_o(done), .word_o(word), .end_o(last), .y_o(y));
  always @(posedge clk) begin
    if (done) all[word*WordBits+:WordBits] <= y;
    if (done != (at[3] || at[4]) || last != at[4]) $fatal(1, "a word came in another cycle");
  end
  assign out = all;
endmodule
