// Selecting a product line is multiplying: for every activation and every codebook of eight levels; proved code by code.
module select #(
    parameter int unsigned Code = 0
) (
    input logic        clk_i,
    input logic [ 7:0] a,
    input logic [63:0] levels
);
  logic [2:0] count_q = 3'd0;
  logic [7:0] a_q;
  logic [63:0] levels_q;
  always_ff @(posedge clk_i) begin
    if (count_q != 3'd7) count_q <= count_q + 3'd1;
    if (count_q == 3'd0) {a_q, levels_q} <= {a, levels};
  end

  // One word of one column that is a whole group, with the scale 1, through product lines and lane.
  logic [8*16-1:0] lines;
  logic [31:0] acc;
  burin_products #(.Taps(1), .Codes(8)) u_products (.clk_i, .en_i(count_q == 3'd1), .a_i(a_q), .levels_i(levels_q), .lines_o(lines));
  burin_lane #(.Taps(1), .CodeBits(3)) u_lane (
      .clk_i, .lines_i(lines), .codes_i(3'(Code)), .part_i(count_q == 3'd3), .group_first_i(1'b1),
      .scales_i(6'd1), .sum_i(count_q == 3'd4), .first_i(1'b1), .acc_o(acc));

  logic signed [7:0] level, activation;
  logic signed [15:0] product;
  assign activation = a_q;
  assign level = levels_q[Code*8+:8];
  assign product = 16'(activation) * 16'(level);

  always_ff @(posedge clk_i) begin
    if (count_q == 3'd5) assert (acc == 32'(product));
  end
endmodule
