// A cell of structural views, which synthesis maps to one of the library (osu018_map.v, sky130_map.v): open synthesis does not find half adders in sums.
module burin_ha (
    input  logic a_i,
    input  logic b_i,
    output logic sum_o,
    output logic carry_o
);
  assign sum_o = a_i ^ b_i;
  assign carry_o = a_i & b_i;
endmodule
