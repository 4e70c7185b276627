// Three of the six levels of the Hadamard transform of 64 elements, of every block of 64 in a word: x + y and x - y of elements
// that lie 2^Level, 2^(Level + 1) and 2^(Level + 2) apart.
//
// Timing: x_i in cycle c (en_i), y_o from c + 1 on.
module burin_butterfly #(
    parameter int unsigned Width = 64,
    parameter int unsigned Level = 0
) (
    input  logic                clk_i,
    input  logic                en_i,
    input  logic [Width*32-1:0] x_i,
    output logic [Width*32-1:0] y_o
);
  localparam int unsigned Near = 1 << Level;

  for (genvar i = 0; i < Width; i++) begin : gen_first
    // Only the first of each eight that meet makes their results.
    if ((i / Near) % 8 == 0) begin : gen_eight
      logic signed [31:0] a[0:7], b[0:7], c[0:7], d[0:7];
      for (genvar k = 0; k < 8; k++) begin : gen_in
        assign a[k] = x_i[(i+k*Near)*32+:32];
      end
      for (genvar k = 0; k < 4; k++) begin : gen_levels
        assign b[2*k] = a[2*k] + a[2*k+1];
        assign b[2*k+1] = a[2*k] - a[2*k+1];
        assign c[k/2*4+k%2] = b[k/2*4+k%2] + b[k/2*4+k%2+2];
        assign c[k/2*4+k%2+2] = b[k/2*4+k%2] - b[k/2*4+k%2+2];
        assign d[k] = c[k] + c[k+4];
        assign d[k+4] = c[k] - c[k+4];
      end
      for (genvar k = 0; k < 8; k++) begin : gen_out
        always_ff @(posedge clk_i) begin
          if (en_i) y_o[(i+k*Near)*32+:32] <= d[k];
        end
      end
    end
  end
endmodule
