// A cell of structural views, which synthesis maps to one of the library (osu018_map.v, sky130_map.v): open synthesis does not find the cheapest form of a selection.
module burin_aoi22 (
    input  logic a_i,
    input  logic b_i,
    input  logic c_i,
    input  logic d_i,
    output logic y_o
);
  assign y_o = ~((a_i & b_i) | (c_i & d_i));
endmodule
