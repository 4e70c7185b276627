// Words of four rows; their scales come from a ROM in order, so that vectors must too.
module finish_tb;
  localparam int InWidth = 4 * 32 + 17 + 10, OutWidth = 4 * 32, Latency = 4, Gap = 5;
  localparam string Name = "finish";
  `include "driver.svh"
  logic [127:0] acc;
  logic soon, done, last;
  logic [2:0] soon_mat, mat;
  logic [3:0] soon_word, word;
  always @(posedge clk) acc <= in[127:0];
  burin_finish #(.Vec(4), .IndexWidth(4), .Mats(2), .RowWords(256), .Exponent(16'hf3_f3), .ImageRows("rows.hex")) u_dut (
      .clk_i(clk), .rst_i(rst), .begin_i(rst), .drain_i(valid), .mat_i(3'd0), .word_i(4'd0), .mat_end_i(1'b0), .end_i(1'b0), .acc_i(acc),
      .m_i(in[144:128]), .e_i(in[154:145]), .soon_o(soon), .soon_mat_o(soon_mat), .soon_word_o(soon_word), .valid_o(done), .mat_o(mat),
      .word_o(word), .end_o(last), .y_o(out));
endmodule
