// One stage: every word that is issued and every word that is drained, in order, however late ready_i comes.
module sweep_tb;
  localparam int Issues = 24, Drains = 8, IssueBits = 8, DrainBits = 10;
  localparam int InWidth = 3 + 6, OutWidth = Issues * IssueBits + Drains * DrainBits, Latency = 160, Gap = 161;
  localparam string Name = "sweep";
  `include "driver.svh"
  logic issue, first, group_first, group_end, mat_end, load, drain, index, drain_mat_end, drain_end;
  logic [3:0] word, drain_word;
  logic [2:0] drain_mat;
  logic [Issues*IssueBits-1:0] issued = '0;
  logic [Drains*DrainBits-1:0] drained = '0;
  int issues = 0, drains = 0, cycle = 0, since_load = 0;
  // Words of 32 taps: two a group.  q 6, k and v 4, o 2, gate and up 4, down 8, head 2 words; rows of 2 a block.
  burin_sweep #(.IndexWidth(4), .Taps(32), .BlockWords(2), .Words({32'd2, 32'd8, 32'd4, 32'd4, 32'd2, 32'd4, 32'd4, 32'd6}),
                .RowWords({32'd7, 32'd3, 32'd4, 32'd4, 32'd1, 32'd2, 32'd2, 32'd3}), .Start({32'd1, 32'd5, 32'd2, 32'd3, 32'd1})) u_dut (
      .clk_i(clk), .rst_i(rst), .go_i(valid), .stage_i(in[2:0]), .ready_i(cycle > 32'(in[8:3])), .issue_o(issue), .word_o(word), .first_o(first),
      .group_first_o(group_first), .group_end_o(group_end), .mat_end_o(mat_end), .load_hold_o(load), .drain_o(drain), .drain_index_o(index),
      .drain_word_o(drain_word), .drain_mat_o(drain_mat), .drain_mat_end_o(drain_mat_end), .drain_end_o(drain_end));
  always @(posedge clk) begin
    cycle <= valid ? 1 : cycle + 1;
    if (valid) begin
      issues <= 0;
      drains <= 0;
      issued <= '0;
      drained <= '0;
    end else begin
      if (issue) begin
        issued[issues*IssueBits+:IssueBits] <= {word, first, group_first, group_end, mat_end};
        issues <= issues + 1;
        if (issues == 0 && cycle != (in[2:0] == 3'd0 ? 1 : in[2:0] == 3'd1 ? 3 : in[2:0] == 3'd2 ? 2 : in[2:0] == 3'd3 ? 5 : 1)) $fatal(1, "the first word was issued in cycle %0d", cycle);
      end
      if (drain) begin
        drained[drains*DrainBits+:DrainBits] <= {index, drain_word, drain_mat, drain_mat_end, drain_end};
        drains <= drains + 1;
      end
      if (load && drain) $fatal(1, "the hold registers were loaded while they were drained");
    end
  end
  assign out = {drained, issued};
endmodule
