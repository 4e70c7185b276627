// A word is written; in the next cycle one is read while another is written, over it at times: what is read is what was there.
module ram_tb;
  localparam int InWidth = 2 * 32 + 3 * 2, OutWidth = 32, Latency = 2, Gap = 2;
  localparam string Name = "ram";
  `include "driver.svh"
  logic second = 1'b0;
  always @(posedge clk) second <= valid;
  burin_ram #(.Width(32), .Depth(4)) u_dut (
      .clk_i(clk), .write_i(valid || second), .write_addr_i(second ? in[67:66] : in[65:64]), .data_i(second ? in[63:32] : in[31:0]), .read_i(second),
      .read_addr_i(in[69:68]), .data_o(out));
endmodule
