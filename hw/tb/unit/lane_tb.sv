// Product lines and a lane: a row of two words of 64 columns, each with its scale.
module lane_tb;
  localparam int Taps = 64, CodeBits = 3;
  localparam int InWidth = 2 * (Taps * 8 + Taps * CodeBits + 6) + 64, OutWidth = 32, Latency = 5, Gap = 6;
  localparam int WordWidth = Taps * 8 + Taps * CodeBits + 6;
  localparam string Name = "lane";
  `include "driver.svh"
  logic [4:0] at = '0;  // cycles since the first word, one bit each
  logic second;
  logic [WordWidth-1:0] word;
  logic [Taps*8*16-1:0] lines;
  logic [Taps*CodeBits-1:0] codes_q;
  logic [5:0] scale1_q, scale2_q;
  always @(posedge clk) begin
    at <= {at[3:0], valid};
    codes_q <= word[Taps*8+:Taps*CodeBits];
    scale1_q <= word[WordWidth-1-:6];
    scale2_q <= scale1_q;
  end
  assign second = at[0];
  assign word = second ? in[64+WordWidth+:WordWidth] : in[64+:WordWidth];
  burin_products #(.Taps(Taps), .Codes(8)) u_products (.clk_i(clk), .en_i(valid || second), .a_i(word[Taps*8-1:0]), .levels_i(in[63:0]), .lines_o(lines));
  burin_lane #(.Taps(Taps), .CodeBits(CodeBits)) u_dut (
      .clk_i(clk), .select_i(at[0] || at[1]), .lines_i(lines), .codes_i(codes_q), .part_i(at[1] || at[2]), .group_first_i(1'b1),
      .scale_i(at[1] || at[2]), .scales_i(scale2_q), .sum_i(at[2] || at[3]), .first_i(at[2]), .acc_o(out));
endmodule
