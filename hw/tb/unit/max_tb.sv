module max_tb;
  localparam int InWidth = 8 * 32, OutWidth = 32, Latency = 3, Gap = 1;
  localparam string Name = "max";
  `include "driver.svh"
  logic done;
  burin_max #(.Vec(8)) u_dut (.clk_i(clk), .rst_i(rst), .valid_i(valid), .first_i(1'b1), .end_i(1'b1), .x_i(in), .max_o(out), .done_o(done));
endmodule
