// The score of one key: z = shr(q . k uq uk, 8 - eq - ek), 16 fraction bits.
//
// Timing: operands in cycle c (valid_i), z_o from c + 4 on.  Steps are {e (7), u (9)}.  The dot product takes two cycles: eight
// products each are added in the first, their sums in the second.
module burin_score #(
    parameter int unsigned HeadDim = 16
) (
    input  logic                        clk_i,
    input  logic                        valid_i,
    input  logic        [HeadDim*8-1:0] q_i,
    input  logic        [HeadDim*8-1:0] k_i,
    input  logic        [         15:0] q_step_i,
    input  logic        [         15:0] k_step_i,
    output logic signed [         31:0] z_o
);
  localparam int unsigned Eights = (HeadDim + 7) / 8;

  logic signed [31:0] dot, dot_q;
  logic signed [18:0] eight[0:Eights-1], eight_q[0:Eights-1];
  logic [17:0] units1_q, units2_q;
  logic signed [9:0] shift1_q, shift2_q, shift3_q;
  logic signed [50:0] product_q;
  logic [3:1] valid_q;

  always_comb begin
    for (int e = 0; e < Eights; e++) eight[e] = '0;
    for (int i = 0; i < HeadDim; i++) eight[i/8] = eight[i/8] + 19'($signed(q_i[i*8+:8])) * 19'($signed(k_i[i*8+:8]));
    dot = '0;
    for (int e = 0; e < Eights; e++) dot = dot + 32'(eight_q[e]);
  end

  always_ff @(posedge clk_i) begin
    valid_q <= {valid_q[2:1], valid_i};
    if (valid_i) begin
      for (int e = 0; e < Eights; e++) eight_q[e] <= eight[e];
      units1_q <= 18'(q_step_i[8:0]) * 18'(k_step_i[8:0]);
      shift1_q <= 10'sd8 - 10'($signed(q_step_i[15:9])) - 10'($signed(k_step_i[15:9]));
    end
    if (valid_q[1]) begin
      dot_q <= dot;
      units2_q <= units1_q;
      shift2_q <= shift1_q;
    end
    if (valid_q[2]) begin
      product_q <= 51'(dot_q) * 51'($signed({1'b0, units2_q}));
      shift3_q <= shift2_q;
    end
    if (valid_q[3]) z_o <= burin_pkg::shr(64'(product_q), shift3_q);
  end
endmodule
