// Two query heads that share a key-value head of 16 elements: a position's words come in, all positions so far are attended to.
module attention_tb;
  localparam int Vec = 16, WordBits = Vec * 8 + 16;
  localparam int InWidth = 4 * WordBits + 3, OutWidth = 2 * Vec * 32 + 32, Latency = 45, Gap = 46;
  localparam string Name = "attention";
  `include "driver.svh"
  logic [43:0] at = '0;
  logic [1:0] word;
  logic done, read, index, read_q, index_q;
  logic [2:0] position;
  logic [Vec*32-1:0] data;
  logic [2*Vec*32-1:0] all = '0;
  logic [31:0] max;
  int cycle = 0;
  always @(posedge clk) at <= {at[42:0], valid};
  always_comb begin
    word = 2'd0;
    for (int i = 1; i < 4; i++) if (at[i-1]) word = 2'(i);
  end
  assign position = in[InWidth-1-:3];
  assign read = |at[41:40];  // cycles 41 and 42
  assign index = at[41];
  burin_attention #(.Vec(Vec), .HeadDim(16), .Share(2), .Units(1), .Rounds(1), .Scan(2), .Layers(1), .Context(8), .PositionWidth(3), .IndexWidth(1),
                    .Radix(4), .RoundWidth(1), .RemWidth(3)) u_dut (
      .clk_i(clk), .rst_i(rst), .begin_i(valid), .position_i(position), .head_valid_i(valid || |at[2:0]), .head_mat_i(word < 2'd2 ? 3'd0 : 3'(word) - 3'd1),
      .head_round_i(1'b0), .head_rem_i(word < 2'd2 ? 3'(word) : 3'd0), .head_a_i(in[word*WordBits+:Vec*8]), .head_u_i(in[word*WordBits+Vec*8+:9]),
      .head_e_i(in[word*WordBits+Vec*8+9+:7]), .go_i(at[3]), .read_i(read), .index_i(index), .data_o(data), .max_o(max), .done_o(done));
  always @(posedge clk) begin
    cycle <= valid ? 1 : cycle + 1;
    read_q <= read;
    index_q <= index;
    if (read_q) all[index_q*Vec*32+:Vec*32] <= data;
    // go_i in cycle 4; 5 + 2 (position / 2 + 1) + 13 + ceil(17 / 4) + 2 words behind it
    if (done && cycle != 4 + 5 + 2 * (32'(position) / 2 + 1) + 13 + 5 + 2) $fatal(1, "done_o came in cycle %0d at position %0d", cycle, position);
  end
  assign out = {max, all};
endmodule
