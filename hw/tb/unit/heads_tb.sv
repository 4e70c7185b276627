// Two query heads, one key and one value of 8 elements in words of 4: 8-bit elements and steps in the order in which they leave.
module heads_tb;
  localparam int Vec = 4, Words = 8;
  localparam int InWidth = Words * Vec * 32, OutWidth = Words * (Vec * 8 + 16), Latency = 19, Gap = 21;
  localparam string Name = "heads";
  `include "driver.svh"
  logic [8:0] at = '0;
  logic [2:0] word, index = '0;
  logic head_valid, done, round;
  logic [2:0] mat, rem;
  logic [Vec*8-1:0] a;
  logic [8:0] u;
  logic [6:0] e;
  logic [OutWidth-1:0] all = '0;
  always @(posedge clk) at <= {at[7:0], valid};
  always_comb begin
    word = 3'd0;
    for (int i = 0; i < 8; i++) if (at[i]) word = 3'(i);
  end
  burin_heads #(.Vec(Vec), .HeadDim(8), .QWords(4), .KvWords(2), .QRoundWords(4), .KvRoundWords(2), .RoundWidth(1), .RemWidth(3)) u_dut (
      .clk_i(clk), .rst_i(rst), .go_i(valid), .valid_i(|at[7:0]), .y_i(in[word*Vec*32+:Vec*32]), .valid_o(head_valid), .mat_o(mat), .round_o(round),
      .rem_o(rem), .a_o(a), .u_o(u), .e_o(e), .done_o(done));
  always @(posedge clk) begin
    if (valid) index <= '0;
    if (head_valid) begin
      index <= index + 3'd1;
      all[index*(Vec*8+16)+:Vec*8+16] <= {e, u, a};
      if (mat != (index < 3'd4 ? 3'd0 : index < 3'd6 ? 3'd1 : 3'd2) || rem != (index < 3'd4 ? index : {2'd0, index[0]})) $fatal(1, "a word is marked wrongly");
    end
  end
  assign out = all;
endmodule
