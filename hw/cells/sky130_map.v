// Structural cells in sky130_fd_sc_hd.
module burin_fa (input a_i, input b_i, input c_i, output sum_o, output carry_o);
  sky130_fd_sc_hd__fa_1 _TECHMAP_REPLACE_ (.A(a_i), .B(b_i), .CIN(c_i), .COUT(carry_o), .SUM(sum_o));
endmodule

module burin_ha (input a_i, input b_i, output sum_o, output carry_o);
  sky130_fd_sc_hd__ha_1 _TECHMAP_REPLACE_ (.A(a_i), .B(b_i), .COUT(carry_o), .SUM(sum_o));
endmodule

module burin_aoi22 (input a_i, input b_i, input c_i, input d_i, output y_o);
  sky130_fd_sc_hd__a22oi_1 _TECHMAP_REPLACE_ (.A1(a_i), .A2(b_i), .B1(c_i), .B2(d_i), .Y(y_o));
endmodule
