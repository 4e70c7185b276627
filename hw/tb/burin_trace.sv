// Writes every intermediate vector of the machine to +trace=FILE as it comes to be: lines of a name, the layer, the index of the
// word and the word in hexadecimal, its last element first.  For simulation only; bound into burin_core.
module burin_trace #(
    parameter int unsigned Vec = 16,
    parameter int unsigned Wide = 64
) (
    input logic               clk_i,
    input logic               begin_i,
    input logic               go_i,
    input logic [        2:0] stage_i,
    input logic               embed_i,
    input logic               h_valid_i,
    input logic [       15:0] h_word_i,
    input logic [ Vec*32-1:0] h_i,
    input logic               a_valid_i,
    input logic [       15:0] a_word_i,
    input logic [  Vec*8-1:0] a_i,
    input logic               drain_i,
    input logic [       16:0] scale_m_i,
    input logic [        9:0] scale_e_i,
    input logic               rotated_valid_i,
    input logic [ Vec*32-1:0] rotated_i,
    input logic               head_valid_i,
    input logic [  Vec*8-1:0] head_i,
    input logic               att_valid_i,
    input logic [       15:0] att_word_i,
    input logic [ Vec*32-1:0] att_i,
    input logic               y_valid_i,
    input logic [        2:0] y_mat_i,
    input logic [       15:0] y_word_i,
    input logic [ Vec*32-1:0] y_i,
    input logic               act_valid_i,
    input logic [       15:0] act_word_i,
    input logic [ Vec*32-1:0] act_i,
    input logic               fly_valid_i,
    input logic [       15:0] fly_word_i,
    input logic [Wide*32-1:0] fly_i
);
  int file = 0;
  int layer_q = 0;
  int rotated_q = 0, head_q = 0;
  logic scaled_q = 1'b0;
  string name;

  initial begin
    if ($value$plusargs("trace=%s", name)) file = $fopen(name, "w");
  end

  always @(posedge clk_i) begin
    if (begin_i) begin
      layer_q <= -1;
      $fdisplay(file, "token 0 0 0");
    end
    if (go_i) begin
      scaled_q <= 1'b0;
      if (stage_i == 3'd0 || stage_i == 3'd4) begin
        layer_q <= layer_q + 1;
        rotated_q <= 0;
        head_q <= 0;
      end
    end
    if (h_valid_i) $fdisplay(file, "%s %0d %0d %h", embed_i ? "embed" : stage_i == 3'd1 ? "h_o" : "h_down", embed_i ? 0 : layer_q, h_word_i, h_i);
    if (a_valid_i) begin
      $fdisplay(file, "%s %0d %0d %h", stage_i == 3'd0 ? "attn_in" : stage_i == 3'd1 ? "o_in" : stage_i == 3'd2 ? "ffn_in" : stage_i == 3'd3 ? "down_in" : "head_in",
                layer_q, a_word_i, a_i);
    end
    if (drain_i && !scaled_q) begin
      scaled_q <= 1'b1;
      $fdisplay(file, "%s %0d 0 %h", stage_i == 3'd0 ? "attn_scale" : stage_i == 3'd1 ? "o_scale" : stage_i == 3'd2 ? "ffn_scale" : stage_i == 3'd3 ? "down_scale" : "head_scale",
                layer_q, {{22{scale_e_i[9]}}, scale_e_i, 15'd0, scale_m_i});
    end
    if (rotated_valid_i) begin
      rotated_q <= rotated_q + 1;
      $fdisplay(file, "qkv %0d %0d %h", layer_q, rotated_q, rotated_i);
    end
    if (head_valid_i) begin
      head_q <= head_q + 1;
      $fdisplay(file, "qkv8 %0d %0d %h", layer_q, head_q, head_i);
    end
    if (att_valid_i) $fdisplay(file, "attention %0d %0d %h", layer_q, att_word_i, att_i);
    if (y_valid_i && y_mat_i == 3'd4) $fdisplay(file, "gate %0d %0d %h", layer_q, y_word_i, y_i);
    if (y_valid_i && y_mat_i == 3'd5) $fdisplay(file, "up %0d %0d %h", layer_q, y_word_i, y_i);
    if (y_valid_i && y_mat_i == 3'd7) $fdisplay(file, "logits %0d %0d %h", layer_q, y_word_i, y_i);
    if (act_valid_i) $fdisplay(file, "act %0d %0d %h", layer_q, act_word_i, act_i);
    if (fly_valid_i) $fdisplay(file, "butterfly %0d %0d %h", layer_q, fly_word_i, fly_i);
  end
endmodule

bind burin_core burin_trace #(
    .Vec(Vec),
    .Wide(Vec > 64 ? Vec : 64)
) u_trace (
    .clk_i,
    .begin_i(begin_token),
    .go_i(go),
    .stage_i(stage),
    .embed_i(embed_valid),
    .h_valid_i(u_residual.write),
    .h_word_i(u_residual.word_i),
    .h_i(u_residual.h),
    .a_valid_i(a_write),
    .a_word_i(a_index),
    .a_i(a),
    .drain_i(drain),
    .scale_m_i(scale_m),
    .scale_e_i(scale_e),
    .rotated_valid_i(rotated_valid),
    .rotated_i(rotated),
    .head_valid_i(head_valid),
    .head_i(head_a),
    .att_valid_i(u_attention.valid_q[3]),
    .att_word_i(16'(u_attention.word3_q)),
    .att_i(u_attention.y),
    .y_valid_i(y_valid),
    .y_mat_i(y_mat),
    .y_word_i(y_word),
    .y_i(y),
    .act_valid_i(u_gate.valid_q[6]),
    .act_word_i(u_gate.word6_q),
    .act_i(u_gate.act),
    .fly_valid_i(u_gate.fly_q[4]),
    .fly_word_i(16'(u_gate.row4_q)),
    .fly_i(u_gate.whole_q)
);
