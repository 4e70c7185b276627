module butterfly_tb;
  localparam int InWidth = 64 * 32, OutWidth = 64 * 32, Latency = 2, Gap = 1;
  localparam string Name = "butterfly";
  `include "driver.svh"
  logic [64*32-1:0] half;
  logic valid_q;
  burin_butterfly #(.Width(64), .Level(0)) u_first (.clk_i(clk), .en_i(valid), .x_i(in), .y_o(half));
  burin_butterfly #(.Width(64), .Level(3)) u_second (.clk_i(clk), .en_i(valid_q), .x_i(half), .y_o(out));
  always @(posedge clk) valid_q <= valid;
endmodule
