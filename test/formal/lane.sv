// The structural lane equals the behavioural one, whatever the lines hold (products are below 2^14), over two words of a group and
// two groups of a row; proved scale by scale.
module lane #(
    parameter int unsigned Scale = 1
) (
    input logic         clk_i,
    input logic [255:0] lines,
    input logic [  5:0] codes,
    input logic         group_first,
    input logic         first
);
  logic [3:0] count_q = 4'd0;
  always_ff @(posedge clk_i) if (count_q != 4'd15) count_q <= count_q + 4'd1;

  logic [31:0] acc, acc_structural;
  logic part;
  assign part = count_q == 4'd1 || count_q == 4'd2;
  burin_lane #(.Taps(2), .CodeBits(3)) u_lane (
      .clk_i, .lines_i(lines), .codes_i(codes), .part_i(part), .group_first_i(count_q == 4'd1 || group_first),
      .scales_i(6'(Scale)), .sum_i(count_q == 4'd2 || count_q == 4'd3), .first_i(count_q == 4'd2 || first), .acc_o(acc));
  burin_lane_structural #(.Taps(2), .CodeBits(3)) u_structural (
      .clk_i, .lines_i(lines), .codes_i(codes), .part_i(part), .group_first_i(count_q == 4'd1 || group_first),
      .scales_i(6'(Scale)), .sum_i(count_q == 4'd2 || count_q == 4'd3), .first_i(count_q == 4'd2 || first), .acc_o(acc_structural));

  always_ff @(posedge clk_i) begin
    for (int i = 0; i < 16; i++) assume (lines[i*16+15] == lines[i*16+14]);
    if (count_q == 4'd4) assert (acc == acc_structural);
  end
endmodule
