module divide_tb;
  localparam int InWidth = 64, OutWidth = 17, Latency = 6, Gap = 7;
  localparam string Name = "divide";
  `include "driver.svh"
  logic done;
  burin_divide #(.Digits(17), .Radix(4)) u_dut (.clk_i(clk), .rst_i(rst), .start_i(valid), .n_i(in[31:0]), .d_i(in[63:32]), .done_o(done), .q_o(out));
  always @(posedge clk) if (due[Latency] && !done) $fatal(1, "done_o came too late");
endmodule
