module silu_tb;
  localparam int InWidth = 64, OutWidth = 32, Latency = 6, Gap = 1;
  localparam string Name = "silu";
  `include "driver.svh"
  logic [4:0] at = '0;
  always @(posedge clk) at <= {at[3:0], valid};
  burin_silu u_dut (.clk_i(clk), .en_i({at, valid}), .g_i(in[31:0]), .u_i(in[63:32]), .act_o(out));
endmodule
