// From accumulators to results: y = shr(acc P, -(exponent + E + 16 + F)) with P = (row scale M + 2^15) >> 16.
//
// The row scales lie in a ROM in the order in which they are drained; exponents and fraction bits are constants of a matrix.
// Timing: drain_i in cycle d, acc_i in d + 1, y_o and its marks in d + 4.  m_i and e_i are the input's scale and stay.
module burin_finish #(
    parameter int unsigned Vec = 16,
    parameter int unsigned IndexWidth = 16,
    parameter int unsigned Mats = 8,
    parameter int unsigned RowWords = 2,
    parameter logic [Mats*8-1:0] Exponent = '0,  // [matrix in order] signed
    parameter ImageRows = "rom/row_scales.hex"
) (
    input  logic                  clk_i,
    input  logic                  rst_i,
    input  logic                  begin_i,
    input  logic                  drain_i,
    input  logic [           2:0] mat_i,
    input  logic [IndexWidth-1:0] word_i,
    input  logic                  mat_end_i,
    input  logic                  end_i,
    input  logic [    Vec*32-1:0] acc_i,
    input  logic [          16:0] m_i,
    input  logic signed [    9:0] e_i,
    // three cycles behind drain_i, so that what meets y can be read
    output logic                  soon_o,
    output logic [           2:0] soon_mat_o,
    output logic [IndexWidth-1:0] soon_word_o,
    output logic                  valid_o,
    output logic [           2:0] mat_o,
    output logic [IndexWidth-1:0] word_o,
    output logic                  end_o,
    output logic [    Vec*32-1:0] y_o
);
  localparam int unsigned MatWidth = Mats > 1 ? $clog2(Mats) : 1;

  logic [MatWidth-1:0] mat_q;
  logic [Vec*16-1:0] row_scales;
  logic [4:1] valid_q, end_q;
  logic [2:0] mat1_q, mat2_q, mat3_q, mat4_q;
  logic [IndexWidth-1:0] word1_q, word2_q, word3_q, word4_q;
  logic signed [9:0] shift, shift1_q, shift2_q, shift3_q;

  assign shift = -(10'($signed(Exponent[mat_q*8+:8])) + e_i + 10'sd16 + (mat_i == burin_pkg::MatHead ? 10'sd16 : 10'sd12));

  always_ff @(posedge clk_i) begin
    if (rst_i) valid_q <= '0;
    else valid_q <= {valid_q[3:1], drain_i};
    if (begin_i) mat_q <= '0;
    else if (drain_i && mat_end_i) mat_q <= mat_q + 1'b1;
    end_q <= {end_q[3:1], end_i};
    {mat4_q, mat3_q, mat2_q, mat1_q} <= {mat3_q, mat2_q, mat1_q, mat_i};
    {word4_q, word3_q, word2_q, word1_q} <= {word3_q, word2_q, word1_q, word_i};
    {shift3_q, shift2_q, shift1_q} <= {shift2_q, shift1_q, shift};
  end

  burin_stream_rom #(
      .Width(Vec * 16),
      .Depth(RowWords),
      .ImageFile(ImageRows)
  ) u_rows (
      .clk_i,
      .begin_i,
      .read_i(drain_i),
      .word_o(row_scales)
  );

  for (genvar i = 0; i < Vec; i++) begin : gen_lane
    logic [16:0] p_q;
    logic signed [31:0] acc_q;
    logic signed [49:0] product_q;

    always_ff @(posedge clk_i) begin
      if (valid_q[1]) begin
        acc_q <= acc_i[i*32+:32];
        p_q <= 17'((33'(row_scales[i*16+:16]) * 33'(m_i) + 33'd32768) >> 16);
      end
      if (valid_q[2]) product_q <= 50'(acc_q) * 50'($signed({1'b0, p_q}));
      if (valid_q[3]) y_o[i*32+:32] <= burin_pkg::shr(64'(product_q), shift3_q);
    end
  end

  assign soon_o = valid_q[3];
  assign soon_mat_o = mat3_q;
  assign soon_word_o = word3_q;
  assign valid_o = valid_q[4];
  assign mat_o = mat4_q;
  assign word_o = word4_q;
  assign end_o = end_q[4];
endmodule
