module root_tb;
  localparam int InWidth = 64, OutWidth = 26, Latency = 17, Gap = 18;
  localparam string Name = "root";
  `include "driver.svh"
  logic ready;
  logic [15:0] m;
  logic [9:0] e;
  burin_root #(.Radix(4), .RootDim(17'd6144), .Eps(48'd96637)) u_dut (
      .clk_i(clk), .rst_i(rst), .clear_i(1'b0), .start_i(valid), .sum_i(in[47:0]), .step_u_i(in[56:48]), .step_e_i(in[63:57]), .ready_o(ready),
      .m_o(m), .e_o(e));
  assign out = {ready ? m : 16'd0, e};
endmodule
