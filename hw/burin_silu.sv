// One element of the gate: act = shr(shr(g sigmoid(g), 15) u, 12), clamped; sigmoid from a table, between whose entries it is a line.
//
// Timing: g_i and u_i in cycle c with en_i[0], then en_i[1] .. [5] in c + 1 .. c + 5; act_o from c + 6 on.
module burin_silu (
    input  logic               clk_i,
    input  logic        [ 5:0] en_i,
    input  logic signed [31:0] g_i,
    input  logic signed [31:0] u_i,
    output logic signed [31:0] act_o
);
  logic signed [31:0] g1_q, g2_q, u1_q, u2_q, u3_q, u4_q, silu_q;
  logic signed [48:0] product_q, low_half_q;
  logic signed [47:0] high_half_q;
  logic [31:0] size;
  logic [15:0] x, low_q, sigma, sigma_q;
  logic [15:0] low, high;
  logic [10:0] rise_q;
  logic [9:0] t_q;

  assign size = burin_pkg::magnitude(g_i);
  assign x = size > 32'd65535 ? 16'd65535 : 16'(size & 32'd65535);
  assign low = burin_tables_pkg::sigmoid({1'b0, x[15:10]});
  assign high = burin_tables_pkg::sigmoid({1'b0, x[15:10]} + 7'd1);
  assign sigma = low_q + 16'((21'(rise_q) * 21'(t_q) + 21'd512) >> 10);

  always_ff @(posedge clk_i) begin
    if (en_i[0]) begin
      g1_q <= g_i;
      u1_q <= u_i;
      low_q <= low;
      rise_q <= 11'(high - low);
      t_q <= x[9:0];
    end
    if (en_i[1]) begin
      g2_q <= g1_q;
      u2_q <= u1_q;
      sigma_q <= g1_q[31] ? 16'd32768 - sigma : sigma;
    end
    if (en_i[2]) begin
      u3_q <= u2_q;
      product_q <= 49'(g2_q) * 49'($signed({1'b0, sigma_q}));
    end
    if (en_i[3]) begin
      u4_q <= u3_q;
      silu_q <= burin_pkg::sat32(burin_pkg::rsr(64'(product_q), 6'd15));
    end
    if (en_i[4]) begin  // by halves of u: a product of 32 by 32 bits is twice as long
      low_half_q <= 49'(silu_q) * 49'($signed({1'b0, u4_q[15:0]}));
      high_half_q <= 48'(silu_q) * 48'($signed(u4_q[31:16]));
    end
    if (en_i[5]) act_o <= burin_pkg::sat32(burin_pkg::rsr((64'(high_half_q) <<< 16) + 64'(low_half_q), 6'd12));
  end
endmodule
