// The step u * 2^e of an 8-bit vector from the largest magnitude in it (quant8 of doc/arithmetic.md).
//
// Timing: max_i in cycle c, u_o and e_o in c + 1, reciprocal_o = floor(2^22 / u) in c + 2.
module burin_step (
    input  logic               clk_i,
    input  logic        [31:0] max_i,
    output logic        [ 8:0] u_o,
    output logic signed [ 6:0] e_o,
    output logic        [14:0] reciprocal_o
);
  logic [31:0] max;
  logic signed [6:0] e;
  logic [16:0] t;

  assign max = max_i == 32'd0 ? 32'd1 : max_i;
  assign e = 7'(burin_pkg::bit_length(max)) - 7'sd15;
  assign t = burin_pkg::to_15_bits(max, e);

  always_ff @(posedge clk_i) begin
    u_o <= 9'(t >> 7) + 9'd2;
    e_o <= e;
    reciprocal_o <= burin_tables_pkg::reciprocal(u_o);
  end
endmodule
