// One head of 8 with 6 rotated elements at a position below 128; angles are made first, from the tables of test/hardware.c.
module rotary_tb;
  localparam int InWidth = 8 * 32 + 7, OutWidth = 8 * 32, Latency = 10, Gap = 11;
  localparam string Name = "rotary";
  `include "driver.svh"
  logic [7:0] at = '0;
  logic done;
  always @(posedge clk) at <= {at[6:0], valid};
  burin_rotary #(.Vec(8), .IndexWidth(4), .HeadDim(8), .RotaryDims(6), .PositionWidth(7), .HighDepth(2), .ImageHigh("high.hex"), .ImageLow("low.hex")) u_dut (
      .clk_i(clk), .rst_i(rst), .begin_i(valid), .position_i(in[256+:7]), .valid_i(at[7]), .rotate_i(1'b1), .word_i(4'd0), .y_i(in[255:0]),
      .valid_o(done), .y_o(out));
endmodule
