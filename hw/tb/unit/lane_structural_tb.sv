`define Lane burin_lane_structural
module lane_structural_tb;
  localparam string Name = "lane_structural";
  `include "lane.svh"
endmodule
`undef Lane
