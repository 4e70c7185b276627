// Product lines: for every activation its product with every level of the codebook.  A weight then selects a line, which is
// the multiplication.
//
// Timing: a_i and levels_i in cycle c (en_i), lines_o from c + 1 on.  Line t, code k stands at bit 16 (t Codes + k).
module burin_products #(
    parameter int unsigned Taps = 8,
    parameter int unsigned Codes = 16
) (
    input  logic                     clk_i,
    input  logic                     en_i,
    input  logic [       Taps*8-1:0] a_i,
    input  logic [      Codes*8-1:0] levels_i,
    output logic [Taps*Codes*16-1:0] lines_o
);
  for (genvar t = 0; t < Taps; t++) begin : gen_tap
    logic signed [7:0] a;
    assign a = a_i[t*8+:8];
    for (genvar k = 0; k < Codes; k++) begin : gen_code
      logic signed [7:0] level;
      assign level = levels_i[k*8+:8];
      always_ff @(posedge clk_i) begin
        if (en_i) lines_o[(t*Codes+k)*16+:16] <= 16'(a) * 16'(level);
      end
    end
  end
endmodule
