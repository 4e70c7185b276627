// The scale of a norm: x = scale((C u 2^32) / isqrt(sum 2^16), e - shift - 32) of doc/arithmetic.md, M 2^E with M in [2^15, 2^16).
//
// Root and quotient take Radix binary digits a cycle.  The quotient is made to the 18 digits that its 16 bits need.
// Timing: start_i in cycle c with sum_i, step_u_i and step_e_i (which stay); ready_o is low from c + 1 and high again from
// c + 4 + 32 / Radix + ceil(18 / Radix) on, with m_o and e_o.  clear_i makes it low at once: a new norm has begun.
module burin_root #(
    parameter int unsigned Radix = 4,
    parameter logic [16:0] RootDim = 17'd2048,  // round(sqrt(dim) 2^8)
    parameter logic [47:0] Eps = 48'd1          // round(eps dim 2^24)
) (
    input  logic               clk_i,
    input  logic               rst_i,
    input  logic               clear_i,
    input  logic               start_i,
    input  logic        [47:0] sum_i,
    input  logic        [ 8:0] step_u_i,
    input  logic signed [ 6:0] step_e_i,
    output logic               ready_o,
    output logic        [15:0] m_o,
    output logic signed [ 9:0] e_o
);
  localparam int unsigned Steps = 32 / Radix;
  localparam int unsigned CountWidth = $clog2(Steps + 1);

  // Root of a 64-bit number, two bits of it a digit.
  logic [4:0] shift;
  logic [47:0] radicand;
  logic [63:0] value_q, value;
  logic [33:0] rem_q, rem, trial;
  logic [31:0] root_q, root;
  logic [CountWidth-1:0] left_q;
  logic root_done_q, normal_q;

  assign shift = step_e_i > 7'sd0 ? step_e_i[4:0] : 5'd0;
  assign radicand = sum_i + (Eps >> {shift, 1'b0});

  always_comb begin
    value = value_q;
    rem = rem_q;
    root = root_q;
    for (int i = 0; i < Radix; i++) begin
      rem = {rem[31:0], value[63:62]};
      value = value << 2;
      trial = {root, 2'b01};
      root = {root[30:0], rem >= trial};
      if (root[0]) rem = rem - trial;
    end
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      left_q <= '0;
      root_done_q <= 1'b0;
      normal_q <= 1'b0;
    end else begin
      root_done_q <= left_q == CountWidth'(1);
      normal_q <= root_done_q;
      if (start_i) left_q <= CountWidth'(Steps);
      else if (left_q != '0) left_q <= left_q - CountWidth'(1);
    end
    if (start_i) begin
      value_q <= {radicand == 48'd0 ? 48'd1 : radicand, 16'd0};
      rem_q <= '0;
      root_q <= '0;
    end else if (left_q != '0) begin
      value_q <= value;
      rem_q <= rem;
      root_q <= root;
    end
  end

  // Quotient of the normalised operands.
  logic [31:0] num, num_q, den_q;
  logic [5:0] num_bits, den_bits;
  logic signed [6:0] bits_q;
  logic quotient_done;
  logic [17:0] quotient;

  assign num = 32'(RootDim) * 32'(step_u_i);
  assign num_bits = burin_pkg::bit_length(num);
  assign den_bits = burin_pkg::bit_length(root_q);

  always_ff @(posedge clk_i) begin
    if (root_done_q) begin
      num_q <= num << (6'd32 - num_bits);
      den_q <= root_q << (6'd32 - den_bits);
      bits_q <= 7'(num_bits) - 7'(den_bits);
    end
  end

  burin_divide #(
      .Digits(18),
      .Radix(Radix)
  ) u_divide (
      .clk_i,
      .rst_i,
      .start_i(normal_q),
      .n_i(num_q),
      .d_i(den_q),
      .done_o(quotient_done),
      .q_o(quotient)
  );

  // The quotient has 33 + bits_q bits where its first digit is 1, else one fewer; 17 of them, rounded to 16, are M.
  logic [16:0] top, rounded;
  logic signed [9:0] exponent;

  assign top = quotient[17] ? quotient[17:1] : quotient[16:0];
  assign rounded = 17'((18'(top) + 18'd1) >> 1);
  assign exponent = 10'(step_e_i) - 10'($signed({1'b0, shift})) - 10'sd32 + 10'(bits_q) + (quotient[17] ? 10'sd17 : 10'sd16);

  always_ff @(posedge clk_i) begin
    if (rst_i || clear_i) ready_o <= 1'b0;
    else if (start_i) ready_o <= 1'b0;
    else if (quotient_done) ready_o <= 1'b1;
    if (quotient_done) begin
      m_o <= rounded[16] ? 16'd32768 : rounded[15:0];
      e_o <= exponent + (rounded[16] ? 10'sd1 : 10'sd0);
    end
  end
endmodule
