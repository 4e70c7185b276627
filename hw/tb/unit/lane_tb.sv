`define Lane burin_lane
module lane_tb;
  localparam string Name = "lane";
  `include "lane.svh"
endmodule
`undef Lane
