// 64 elements written narrow and read wide, and written wide and read narrow.
module activations_tb;
  localparam int InWidth = 64 * 8 + 2 + 4, OutWidth = 16 * 8 + 4 * 8, Latency = 18, Gap = 19;
  localparam string Name = "activations";
  `include "driver.svh"
  logic [16:0] at = '0;
  logic narrow, wide;
  logic [3:0] word;
  always @(posedge clk) at <= {at[15:0], valid};
  assign narrow = valid || |at[14:0];  // cycles 0..15
  assign wide = valid || |at[2:0];     // 0..3
  always_comb begin
    word = 4'd0;
    for (int i = 1; i < 16; i++) if (at[i-1]) word = 4'(i);
  end
  burin_activations #(.Size(64), .Vec(4), .Taps(16), .IndexWidth(4)) u_narrow (
      .clk_i(clk), .write_i(narrow), .write_index_i(word), .a_i(in[word*32+:32]), .read_i(at[15]), .index_i({2'd0, in[513:512]}), .a_o(out[127:0]));
  burin_activations #(.Size(64), .Vec(16), .Taps(4), .IndexWidth(4)) u_wide (
      .clk_i(clk), .write_i(wide), .write_index_i(word), .a_i(in[word[1:0]*128+:128]), .read_i(at[15]), .index_i(in[517:514]), .a_o(out[159:128]));
endmodule
