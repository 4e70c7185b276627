// Two matrices of 8 rows and 128 columns, 3 and 4 bits, swept one behind the other with the same input; out: 16 accumulators.
module bank_tb;
  localparam int Lanes = 8, Taps = 8, Vec = 4, Words = 16;
  localparam int InWidth = 128 * 8, OutWidth = 16 * 32, Latency = 43, Gap = 44;
  localparam string Name = "bank";
  `include "driver.svh"
  logic [41:0] at = '0;
  logic issue, group_first, group_end, drain, drain_q, index_q;
  logic [4:0] word, word_q;
  logic [1:0] place, place_q;
  logic [Vec*32-1:0] acc;
  logic [OutWidth-1:0] all = '0;
  always @(posedge clk) at <= {at[40:0], valid};
  assign issue = |at[31:0];                         // cycles 1..32
  always_comb begin
    word = 5'd0;
    for (int i = 0; i < 32; i++) if (at[i]) word = 5'(i);
  end
  assign group_first = word[2:0] == 3'd0;
  assign group_end = word[2:0] == 3'd7;
  // The last words are issued in cycles 16 and 32: hold in 21 and 37, drained in 22, 23 and 38, 39.
  assign drain = |at[22:21] || |at[38:37];
  assign place = {|at[38:37], at[22] || at[38]};
  burin_bank #(.Lanes(Lanes), .Taps(Taps), .Vec(Vec), .CodeBits(4), .Mats(2), .ScaleWords(4), .Width(6'b010_001), .Depth(160'h10_00000010_00000000),
               .Image3("bank_codes3.hex"), .Image4("bank_codes4.hex"), .ImageLevels("bank_levels.hex"), .ImageScales("bank_scales.hex")) u_dut (
      .clk_i(clk), .begin_i(valid), .issue_i(issue), .first_i(word[3:0] < 4'd8), .group_first_i(group_first), .group_end_i(group_end),
      .mat_end_i(word[3:0] == 4'd15), .a_i(in[word_q[3:0]*Taps*8+:Taps*8]), .load_hold_i(at[20] || at[36]), .drain_i(drain), .index_i(place[0]), .acc_o(acc));
  always @(posedge clk) begin
    word_q <= word;
    drain_q <= drain;
    place_q <= place;
    if (drain_q) all[place_q*Vec*32+:Vec*32] <= acc;
  end
  assign out = all;
endmodule
