// The score of one key: z = shr(q . k uq uk, 8 - eq - ek), 16 fraction bits.
//
// Timing: operands in cycle c (valid_i), z_o from c + 3 on.  Steps are {e (7), u (9)}.
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
  logic signed [31:0] dot, dot_q;
  logic [17:0] units_q;
  logic signed [9:0] shift1_q, shift2_q;
  logic signed [50:0] product_q;
  logic [2:1] valid_q;

  always_comb begin
    dot = '0;
    for (int i = 0; i < HeadDim; i++) dot = dot + 32'($signed(q_i[i*8+:8])) * 32'($signed(k_i[i*8+:8]));
  end

  always_ff @(posedge clk_i) begin
    valid_q <= {valid_q[1], valid_i};
    if (valid_i) begin
      dot_q <= dot;
      units_q <= 18'(q_step_i[8:0]) * 18'(k_step_i[8:0]);
      shift1_q <= 10'sd8 - 10'($signed(q_step_i[15:9])) - 10'($signed(k_step_i[15:9]));
    end
    if (valid_q[1]) begin
      product_q <= 51'(dot_q) * 51'($signed({1'b0, units_q}));
      shift2_q <= shift1_q;
    end
    if (valid_q[2]) z_o <= burin_pkg::shr(64'(product_q), shift2_q);
  end
endmodule
