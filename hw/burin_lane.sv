// One lane: adds the product lines that its weights select, scales each group of 64 columns and adds it to the row's accumulator.
//
// With Taps below 64 a group takes several words, with more a word holds Taps / 64 whole groups.
// Timing, for the word whose lines_i and codes_i stand in cycle c: scales_i and its marks in c + 1 (part_i: a word, group_first_i: it
// begins a group), sum_i in c + 2 if it ends a group (first_i: the row's first), acc_o from c + 3 on.
module burin_lane #(
    parameter int unsigned Taps = 8,
    parameter int unsigned CodeBits = 4,
    parameter int unsigned Groups = Taps > 64 ? Taps / 64 : 1
) (
    input  logic                                  clk_i,
    input  logic        [Taps*(1<<CodeBits)*16-1:0] lines_i,
    input  logic        [        Taps*CodeBits-1:0] codes_i,
    input  logic                                  part_i,
    input  logic                                  group_first_i,
    input  logic        [            Groups*6-1:0] scales_i,
    input  logic                                  sum_i,
    input  logic                                  first_i,
    output logic signed [                    31:0] acc_o
);
  localparam int unsigned Codes = 1 << CodeBits;
  localparam int unsigned Width = Taps / Groups;  // columns of a word that share a scale

  logic signed [Groups*32-1:0] product_q;
  logic signed [31:0] sum, acc_q;

  for (genvar g = 0; g < Groups; g++) begin : gen_group
    logic signed [23:0] part, part_q, open_q, whole;
    logic [5:0] scale;
    logic signed [31:0] product;

    always_comb begin
      part = '0;
      for (int t = 0; t < Width; t++) begin
        part = part + 24'($signed(lines_i[((g*Width+t)*Codes+32'(codes_i[(g*Width+t)*CodeBits+:CodeBits]))*16+:16]));
      end
    end

    assign whole = part_q + (group_first_i ? 24'sd0 : open_q);
    assign scale = scales_i[g*6+:6];
    assign product = 32'(whole) * 32'($signed({1'b0, scale}));

    always_ff @(posedge clk_i) begin
      part_q <= part;
      if (part_i) open_q <= whole;
      product_q[g*32+:32] <= product;
    end
  end

  always_comb begin
    sum = first_i ? 32'sd0 : acc_q;
    for (int g = 0; g < Groups; g++) sum = sum + $signed(product_q[g*32+:32]);
  end

  always_ff @(posedge clk_i) begin
    if (sum_i) acc_q <= sum;
  end

  assign acc_o = acc_q;
endmodule
