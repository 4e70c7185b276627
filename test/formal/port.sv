// The handshakes and the walk of the sequencer, for any machine around it and any host: what is offered stays until it is taken,
// tokens are taken only while the machine is idle and has room, and every stage is entered once for each that ends.
module port (
    input logic       clk_i,
    input logic       rst_i,
    input logic       clear_i,
    input logic [1:0] length_i,
    input logic       in_valid_i,
    input logic [1:0] in_token_i,
    input logic       in_last_i,
    input logic       out_ready_i,
    input logic [1:0] sampled_i
);
  logic in_ready, out_valid, out_last, begin_token, go, go_attention, go_fly, token_done;
  logic [1:0] out_token, token;
  logic [1:0] position;
  logic [2:0] stage;
  logic [31:0] cycles;

  // The machine: each stage ends in the cycle behind the one in which it began.
  logic residual_q = 1'b0, heads_q = 1'b0, attention_q = 1'b0, gate_q = 1'b0, fly_q = 1'b0, sampler_q = 1'b0;
  logic [1:0] sampled_q;
  burin_sequencer #(.Layers(1), .Context(3), .Vocab(4)) u_sequencer (
      .clk_i, .rst_i, .clear_i, .length_i(32'(length_i)), .stop_valid_i(1'b1), .stop_token_i(2'd3), .in_valid_i, .in_ready_o(in_ready),
      .in_token_i, .in_last_i, .out_valid_o(out_valid), .out_ready_i, .out_token_o(out_token), .out_last_o(out_last), .begin_o(begin_token),
      .token_o(token), .position_o(position), .go_o(go), .stage_o(stage), .go_attention_o(go_attention), .go_fly_o(go_fly),
      .residual_done_i(residual_q), .heads_done_i(heads_q), .attention_done_i(attention_q), .gate_done_i(gate_q),
      .fly_done_i(fly_q), .sampler_done_i(sampler_q), .sampled_i(sampled_q), .token_done_o(token_done), .cycles_o(cycles));

  always_ff @(posedge clk_i) begin
    residual_q <= begin_token || (go && (stage == 3'd1 || stage == 3'd3));
    heads_q <= go && stage == 3'd0;
    attention_q <= go_attention;
    gate_q <= go && stage == 3'd2;
    fly_q <= go_fly;
    sampler_q <= go && stage == 3'd4;
    if (go && stage == 3'd4) sampled_q <= sampled_i;
    if (rst_i) {residual_q, heads_q, attention_q, gate_q, fly_q, sampler_q} <= '0;
  end

  logic started_q = 1'b0;
  logic was_valid_q, was_ready_q, was_last_q;
  logic [1:0] was_token_q;
  logic [6:0] busy_q = '0;  // cycles since the machine last took or gave a token
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    was_valid_q <= out_valid && !rst_i;
    was_ready_q <= out_ready_i;
    was_token_q <= out_token;
    was_last_q <= out_last;
    busy_q <= rst_i || clear_i || in_ready || out_valid || position == 2'd3 ? '0 : busy_q + 7'd1;
    if (!started_q) assume (rst_i);
    else begin
      assume (!rst_i);
      // AXI4-Stream: valid and data stay until ready
      if (was_valid_q && !was_ready_q) assert (out_valid && out_token == was_token_q && out_last == was_last_q);
      // a machine never takes a token while it gives one, nor into a full context
      assert (!(in_ready && out_valid));
      if (position == 2'd3) assert (!in_ready);
      // one stage at a time
      assert (32'(go) + 32'(go_attention) + 32'(go_fly) + 32'(begin_token) <= 1);
      // liveness: six stages, embedding and head, of two cycles each
      assert (busy_q < 7'd17);
    end
  end
endmodule
