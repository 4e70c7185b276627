// burin_lane for synthesis: the same ports, timing and results (Taps of 2 to 64), with explicit adders and selectors.
//
// Signs cost nothing (Baugh-Wooley): a number of n bits whose sign bit is inverted is larger by 2^(n-1).  2^k such numbers are added
// as they are, and inverting the top bit of their sum takes the 2^k offsets away again; in the product the offsets of the rows are
// a constant of two bits, each of which an adder has room for.
module burin_lane_structural #(
    parameter int unsigned Taps = 8,
    parameter int unsigned CodeBits = 3
) (
    input  logic                                    clk_i,
    input  logic                                    select_i,
    input  logic        [Taps*(1<<CodeBits)*16-1:0] lines_i,
    input  logic        [        Taps*CodeBits-1:0] codes_i,
    input  logic                                    part_i,
    input  logic                                    group_first_i,
    input  logic                                    scale_i,
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

  // Times the scale, a row of whole for each of its bits: above[i] is the sum of the rows up to i without the bits that are final.
  logic [6*22-1:0] above;
  logic [5:0] low;

  assign above[21:0] = {!(whole[20] && scales_i[0]), whole[20] && scales_i[0], whole[19:0] & {20{scales_i[0]}}};
  for (genvar i = 1; i < 6; i++) begin : gen_row
    burin_add #(
        .Width(22)
    ) u_row (
        .a_i({1'b0, above[(i-1)*22+1+:21]}),
        .b_i({1'b0, !(whole[20] && scales_i[i]), whole[19:0] & {20{scales_i[i]}}}),
        .sum_o(above[i*22+:22])
    );
  end
  for (genvar i = 0; i < 6; i++) begin : gen_low
    assign low[i] = above[i*22];
  end

  // Sum of the row.
  logic [ProductWidth-1:0] product_q;
  logic [31:0] sum;

  burin_add #(
      .Width(32)
  ) u_sum (
      .a_i(acc_o & {32{!first_i}}),
      .b_i({{6{product_q[ProductWidth-1]}}, product_q[ProductWidth-2:0]}),
      .sum_o(sum)
  );

  always_ff @(posedge clk_i) begin
    if (select_i) part_q <= gen_level[Levels].sums;
    if (part_i) open_q <= whole;
    if (scale_i) product_q <= {!above[5*22+21], above[5*22+1+:20], low};
    if (sum_i) acc_o <= sum;
  end
endmodule
