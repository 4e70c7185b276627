// burin_lane for synthesis: the same ports, timing and results (Taps of 2 to 64), with explicit adders and selectors.
//
// Signs cost nothing (Baugh-Wooley): a number of n bits whose sign bit is inverted is larger by 2^(n-1).  2^k such numbers are added
// as they are, and inverting the top bit of their sum takes the 2^k offsets away again.
module burin_lane_structural #(
    parameter int unsigned Taps = 8,
    parameter int unsigned CodeBits = 3
) (
    input  logic                                    clk_i,
    input  logic        [Taps*(1<<CodeBits)*16-1:0] lines_i,
    input  logic        [        Taps*CodeBits-1:0] codes_i,
    input  logic                                    part_i,
    input  logic                                    group_first_i,
    input  logic        [                      5:0] scales_i,
    input  logic                                    sum_i,
    input  logic                                    first_i,
    output logic signed [                     31:0] acc_o
);
  localparam int unsigned Codes = 1 << CodeBits;
  localparam int unsigned Levels = $clog2(Taps);
  localparam int unsigned PartWidth = 15 + Levels;
  localparam int unsigned GroupWidth = 21;    // 64 products below 2^14
  localparam int unsigned ProductWidth = 27;  // times a scale below 64

  // Selection: one line of each tap, by AND-OR of its decoded code.  The sign is inverted.
  logic [Taps*15-1:0] lines;

  for (genvar t = 0; t < Taps; t++) begin : gen_tap
    logic [Codes-1:0] is_code;
    logic [14:0] line;
    for (genvar k = 0; k < Codes; k++) begin : gen_code
      assign is_code[k] = codes_i[t*CodeBits+:CodeBits] == k;
    end
    for (genvar b = 0; b < 15; b++) begin : gen_bit
      logic [Codes/2-1:0] none;
      for (genvar k = 0; k < Codes / 2; k++) begin : gen_pair
        burin_aoi22 u_pair (
            .a_i(is_code[2*k]),
            .b_i(lines_i[(t*Codes+2*k)*16+b]),
            .c_i(is_code[2*k+1]),
            .d_i(lines_i[(t*Codes+2*k+1)*16+b]),
            .y_o(none[k])
        );
      end
      assign line[b] = !(&none);
    end
    assign lines[t*15+:15] = {!line[14], line[13:0]};
  end

  // Sum of the word: level l of a tree has Taps / 2^l numbers of 15 + l bits.
  for (genvar l = 0; l <= Levels; l++) begin : gen_level
    localparam int unsigned Width = 15 + l;
    logic [(Taps>>l)*Width-1:0] sums;
    if (l == 0) begin : gen_leaves
      assign sums = lines;
    end else begin : gen_sums
      for (genvar i = 0; i < Taps >> l; i++) begin : gen_node
        burin_add #(
            .Width(Width)
        ) u_add (
            .a_i({1'b0, gen_level[l-1].sums[2*i*(Width-1)+:Width-1]}),
            .b_i({1'b0, gen_level[l-1].sums[(2*i+1)*(Width-1)+:Width-1]}),
            .sum_o(sums[i*Width+:Width])
        );
      end
    end
  end

  // Sum of the group, signed from here on.
  logic [PartWidth-1:0] part_q;
  logic [GroupWidth-1:0] open_q, whole;

  burin_add #(
      .Width(GroupWidth)
  ) u_open (
      .a_i(open_q & {GroupWidth{!group_first_i}}),
      .b_i({{(GroupWidth - PartWidth + 1) {!part_q[PartWidth-1]}}, part_q[PartWidth-2:0]}),
      .sum_o(whole)
  );

  // Times the scale, by its three digits of two bits: 0, 1, 2 or 3 times whole.
  logic [22:0] triple;
  logic [3*23-1:0] rows;
  logic [23:0] above;
  logic [22:0] top;

  assign triple[0] = whole[0];
  burin_add #(
      .Width(22)
  ) u_triple (
      .a_i({whole[20], whole}),
      .b_i({{2{whole[20]}}, whole[20:1]}),
      .sum_o(triple[22:1])
  );

  for (genvar i = 0; i < 3; i++) begin : gen_row
    logic one, two, three;
    logic [22:0] single, double;
    assign one = scales_i[2*i] && !scales_i[2*i+1];
    assign two = !scales_i[2*i] && scales_i[2*i+1];
    assign three = scales_i[2*i] && scales_i[2*i+1];
    assign single = {{2{whole[20]}}, whole};
    assign double = {whole[20], whole, 1'b0};
    for (genvar b = 0; b < 23; b++) begin : gen_bit
      logic none;
      burin_aoi22 u_pair (
          .a_i(one),
          .b_i(single[b]),
          .c_i(two),
          .d_i(double[b]),
          .y_o(none)
      );
      assign rows[i*23+b] = !(none && !(three && triple[b]));
    end
  end

  burin_add #(
      .Width(24)
  ) u_above (
      .a_i({{3{rows[22]}}, rows[22:2]}),
      .b_i({rows[45], rows[45:23]}),
      .sum_o(above)
  );

  burin_add #(
      .Width(23)
  ) u_top (
      .a_i({above[23], above[23:2]}),
      .b_i(rows[68:46]),
      .sum_o(top)
  );

  // Sum of the row.
  logic [ProductWidth-1:0] product_q;
  logic [31:0] sum;

  burin_add #(
      .Width(32)
  ) u_sum (
      .a_i(acc_o & {32{!first_i}}),
      .b_i({{(32 - ProductWidth) {product_q[ProductWidth-1]}}, product_q}),
      .sum_o(sum)
  );

  always_ff @(posedge clk_i) begin
    part_q <= gen_level[Levels].sums;
    if (part_i) open_q <= whole;
    product_q <= {top, above[1:0], rows[1:0]};
    if (sum_i) acc_o <= sum;
  end
endmodule
