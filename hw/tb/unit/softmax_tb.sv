module softmax_tb;
  localparam int InWidth = 32 + 32 + 16 + 7, OutWidth = 30, Latency = 5, Gap = 1;
  localparam string Name = "softmax";
  `include "driver.svh"
  logic [14:0] p, p1_q, p2_q, w;
  burin_softmax u_dut (
      .clk_i(clk), .valid_i(valid), .keep_i(1'b1), .z_i(in[31:0]), .max_i(in[63:32]), .v_step_i(in[79:64]), .e_max_i(in[86:80]), .p_o(p), .w_o(w));
  always @(posedge clk) {p2_q, p1_q} <= {p1_q, p};
  assign out = {p2_q, w};
endmodule
