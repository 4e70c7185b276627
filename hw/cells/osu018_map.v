// Structural cells in osu018.
module burin_fa (input a_i, input b_i, input c_i, output sum_o, output carry_o);
  FAX1 _TECHMAP_REPLACE_ (.A(a_i), .B(b_i), .C(c_i), .YC(carry_o), .YS(sum_o));
endmodule

module burin_ha (input a_i, input b_i, output sum_o, output carry_o);
  HAX1 _TECHMAP_REPLACE_ (.A(a_i), .B(b_i), .YC(carry_o), .YS(sum_o));
endmodule

module burin_aoi22 (input a_i, input b_i, input c_i, input d_i, output y_o);
  AOI22X1 _TECHMAP_REPLACE_ (.A(a_i), .B(b_i), .C(c_i), .D(d_i), .Y(y_o));
endmodule
