module step_tb;
  localparam int InWidth = 32, OutWidth = 31, Latency = 2, Gap = 1;
  localparam string Name = "step";
  `include "driver.svh"
  logic [8:0] u, u_q;
  logic [6:0] e, e_q;
  logic [14:0] r;
  burin_step u_dut (.clk_i(clk), .max_i(in), .u_o(u), .e_o(e), .reciprocal_o(r));
  always @(posedge clk) {u_q, e_q} <= {u, e};
  assign out = {u_q, e_q, r};
endmodule
