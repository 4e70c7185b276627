// Digits of n / d by restoring division, Radix bits a cycle.
//
// n_i and d_i are normalised: d_i has its top bit set and n_i < 2 d_i.  q_o = floor(n 2^(Digits - 1) / d).
// Timing: start_i with operands in cycle c; done_o is high in cycle c + 1 + ceil(Digits / Radix), q_o from then on.
module burin_divide #(
    parameter int unsigned Digits = 17,
    parameter int unsigned Radix = 4
) (
    input  logic              clk_i,
    input  logic              rst_i,
    input  logic              start_i,
    input  logic [      31:0] n_i,
    input  logic [      31:0] d_i,
    output logic              done_o,
    output logic [Digits-1:0] q_o
);
  localparam int unsigned Steps = (Digits + Radix - 1) / Radix;
  localparam int unsigned Spare = Steps * Radix - Digits;
  localparam int unsigned CountWidth = $clog2(Steps + 1);

  logic [CountWidth-1:0] left_q;
  logic [31:0] d_q;
  logic [32:0] rem_q, rem;
  logic [Digits+Spare-1:0] q_q, q;
  logic done_q;

  always_comb begin
    rem = rem_q;
    q = q_q;
    for (int i = 0; i < Radix; i++) begin
      q = {q[Digits+Spare-2:0], rem >= {1'b0, d_q}};
      rem = (q[0] ? rem - {1'b0, d_q} : rem) << 1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      left_q <= '0;
      done_q <= 1'b0;
    end else begin
      done_q <= left_q == CountWidth'(1);
      if (start_i) left_q <= CountWidth'(Steps);
      else if (left_q != '0) left_q <= left_q - CountWidth'(1);
    end
    if (start_i) begin
      rem_q <= {1'b0, n_i};
      d_q <= d_i;
      q_q <= '0;
    end else if (left_q != '0) begin
      rem_q <= rem;
      q_q <= q;
    end
  end

  assign done_o = done_q;
  assign q_o = q_q[Digits+Spare-1:Spare];
endmodule
