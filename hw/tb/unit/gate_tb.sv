// One block of 64: gate and up in words of 16, then the butterfly; out is its result and what it was shifted by.
module gate_tb;
  localparam int Vec = 16, Words = 4;
  localparam int InWidth = 2 * 64 * 32, OutWidth = 64 * 32 + 7, Latency = 31, Gap = 32;
  localparam string Name = "gate";
  `include "driver.svh"
  logic [30:0] at = '0;
  logic gate, soon, up, done, fly_done;
  logic [1:0] word;
  logic [Vec*32-1:0] y, data;
  logic [64*32-1:0] all = '0;
  logic [6:0] over;
  logic [31:0] max;
  logic reading_q, was_reading_q;
  logic [1:0] index_q, index1_q;
  always @(posedge clk) at <= {at[29:0], valid};
  // Words of gate in cycles 0..3, of up in 4..7 (announced one ahead).
  assign gate = valid || |at[2:0];
  assign up = |at[6:3];
  assign soon = |at[5:2];
  always_comb begin
    word = 2'd0;
    for (int i = 0; i < 4; i++) if ((i > 0 && at[i-1]) || at[i+3]) word = 2'(i);
  end
  logic [1:0] soon_word;
  always_comb begin
    soon_word = 2'd0;
    for (int i = 0; i < 4; i++) if (at[i+2]) soon_word = 2'(i);
  end
  assign y = in[(gate?0:64*32)+word*Vec*32+:Vec*32];
  burin_gate #(.Vec(Vec), .IndexWidth(2), .Ffn(64)) u_dut (
      .clk_i(clk), .rst_i(rst), .soon_i(soon), .soon_word_i(soon_word), .gate_i(gate), .up_i(up), .word_i(word), .end_i(word == 2'd3), .y_i(y),
      .done_o(done), .fly_i(at[16]), .fly_done_o(fly_done), .over_o(over), .read_i(reading_q), .index_i(index_q), .data_o(data), .max_o(max));
  always @(posedge clk) begin
    reading_q <= |at[26:23];
    for (int i = 0; i < 4; i++) if (at[i+23]) index_q <= 2'(i);
    was_reading_q <= reading_q;
    index1_q <= index_q;
    if (was_reading_q) all[index1_q*Vec*32+:Vec*32] <= data;
    if (done && !at[15]) $fatal(1, "done_o came in another cycle");
    if (fly_done && !at[23]) $fatal(1, "fly_done_o came in another cycle");
  end
  assign out = {over, all};
endmodule
