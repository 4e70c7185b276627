// The body of the lanes' testbenches: a row of two groups of 64 columns, each with its scale, eight columns a word, through product
// lines and the lane `Lane.
  localparam int Taps = 8, CodeBits = 3;
  localparam int GroupBits = 64 * 8 + 64 * CodeBits + 6;
  localparam int InWidth = 2 * GroupBits + 64, OutWidth = 32, Latency = 19, Gap = 20;
  `include "driver.svh"
  logic [18:0] at = '0;  // cycles since the first word, one bit each
  logic [3:0] word, word1_q, word2_q, word3_q;
  logic [Taps*8-1:0] a;
  logic [Taps*8*16-1:0] lines;
  logic [Taps*CodeBits-1:0] codes_q;
  logic [31:0] base, base2;
  always_comb begin
    word = 4'd0;
    for (int i = 1; i < 16; i++) if (at[i-1]) word = 4'(i);
  end
  assign base = 64 + 32'(word[3]) * GroupBits;
  assign base2 = 64 + 32'(word2_q[3]) * GroupBits;
  assign a = in[base+32'(word[2:0])*Taps*8+:Taps*8];
  always @(posedge clk) begin
    at <= {at[17:0], valid};
    {word3_q, word2_q, word1_q} <= {word2_q, word1_q, word};
    codes_q <= in[base+512+32'(word[2:0])*Taps*CodeBits+:Taps*CodeBits];
  end
  burin_products #(.Taps(Taps), .Codes(8)) u_products (.clk_i(clk), .en_i(valid || |at[14:0]), .a_i(a), .levels_i(in[63:0]), .lines_o(lines));
  `Lane #(.Taps(Taps), .CodeBits(CodeBits)) u_dut (
      .clk_i(clk), .lines_i(lines), .codes_i(codes_q), .part_i(|at[16:1]), .group_first_i(word2_q[2:0] == 3'd0),
      .scales_i(in[base2+512+192+:6]), .sum_i(|at[17:2] && word3_q[2:0] == 3'd7),
      .first_i(word3_q == 4'd7), .acc_o(out));
