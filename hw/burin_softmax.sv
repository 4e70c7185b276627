// The weight of one position: p = 2^-(max - z) with 15 bits from a table, and w = rsr(p uv, 9 + emax - ev).
//
// Timing: z_i, max_i, keep_i (0: no such position) and the value's step in cycle c (valid_i), p_o in c + 3, w_o in c + 5.
module burin_softmax (
    input  logic               clk_i,
    input  logic               valid_i,
    input  logic               keep_i,
    input  logic signed [31:0] z_i,
    input  logic signed [31:0] max_i,
    input  logic        [15:0] v_step_i,
    input  logic signed [ 6:0] e_max_i,
    output logic        [14:0] p_o,
    output logic        [14:0] w_o
);
  logic [32:0] d;
  logic [4:0] octave1_q, octave2_q;
  logic [15:0] fraction_q;
  logic zero1_q, zero2_q;
  logic [14:0] low, high, y_q;
  logic [23:0] product_q;
  logic [5:0] shift1_q, shift2_q, shift3_q, shift4_q;
  logic [8:0] u1_q, u2_q, u3_q;
  logic [4:1] valid_q;

  assign d = 33'(max_i) - 33'(z_i);
  assign low = burin_tables_pkg::exp2({1'b0, fraction_q[15:10]});
  assign high = burin_tables_pkg::exp2({1'b0, fraction_q[15:10]} + 7'd1);

  always_ff @(posedge clk_i) begin
    valid_q <= {valid_q[3:1], valid_i};
    if (valid_i) begin
      zero1_q <= !keep_i || d[32:16] > 17'd30;
      octave1_q <= d[20:16];
      fraction_q <= d[15:0];
      shift1_q <= 6'(7'sd9 + e_max_i - $signed(v_step_i[15:9]));
      u1_q <= v_step_i[8:0];
    end
    if (valid_q[1]) begin
      y_q <= low - 15'(((25'(low) - 25'(high)) * 25'(fraction_q[9:0])) >> 10);
      zero2_q <= zero1_q;
      octave2_q <= octave1_q;
      shift2_q <= shift1_q;
      u2_q <= u1_q;
    end
    if (valid_q[2]) begin
      p_o <= zero2_q ? 15'd0 : 15'(burin_pkg::rsr(64'(y_q), 6'(octave2_q)));
      shift3_q <= shift2_q;
      u3_q <= u2_q;
    end
    if (valid_q[3]) begin
      product_q <= 24'(p_o) * 24'(u3_q);
      shift4_q <= shift3_q;
    end
    if (valid_q[4]) w_o <= 15'(burin_pkg::rsr(64'(product_q), shift4_q));
  end
endmodule
