module score_tb;
  localparam int HeadDim = 16;
  localparam int InWidth = 2 * HeadDim * 8 + 32, OutWidth = 32, Latency = 4, Gap = 1;
  localparam string Name = "score";
  `include "driver.svh"
  burin_score #(.HeadDim(HeadDim)) u_dut (
      .clk_i(clk), .valid_i(valid), .q_i(in[127:0]), .k_i(in[255:128]), .q_step_i(in[271:256]), .k_step_i(in[287:272]), .z_o(out));
endmodule
