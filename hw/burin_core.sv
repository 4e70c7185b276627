// The hard-wired machine: token ids in, token ids out.
//
// One array of lanes over mask ROMs, one residual stream, attention units with their KV cache, a gate unit, a sampler, a sequencer.
// The parameters are a model's shape, its constants, and the sizes of the parts; burin rtl writes a module that sets them.
// Streams have AXI4-Stream names and rules; s_axis_tlast marks a prompt's last token, m_axis_tlast the last token written.
module burin_core #(
    // shape
    parameter int unsigned Layers = 5,
    parameter int unsigned Dim = 64,
    parameter int unsigned Ffn = 192,
    parameter int unsigned QHeads = 4,
    parameter int unsigned KvHeads = 2,
    parameter int unsigned HeadDim = 16,
    parameter int unsigned RotaryDims = 16,
    parameter int unsigned Vocab = 512,
    parameter int unsigned Context = 512,
    parameter logic [16:0] RootDim = 17'd2048,
    parameter logic [47:0] Eps = 48'd1,
    parameter logic [127:0] Hash = '0,
    // sizes
    parameter int unsigned Lanes = 64,
    parameter int unsigned Taps = 16,
    parameter int unsigned Vec = 16,
    parameter int unsigned Scan = 4,
    parameter int unsigned Units = 2,
    parameter int unsigned Radix = 4,
    // constants of the matrices, in the order of a token: q k v o gate up down of every layer, head
    parameter int unsigned CodeBits = 4,
    parameter logic [(Layers*7+1)*3-1:0] Width = '0,     // index of 2 3 4 6 8 bits
    parameter logic [(Layers*7+1)*8-1:0] Exponent = '0,  // signed
    parameter logic [5*32-1:0] CodeWords = '0,           // [width]
    parameter int unsigned ScaleWords = 2,
    parameter int unsigned RowScaleWords = 2,
    parameter int unsigned EmbedBits = 8,
    parameter logic [(1<<EmbedBits)*8-1:0] EmbedLevel = '0,
    parameter logic signed [9:0] EmbedShift = 10'sd0
) (
    input  logic        clk_i,
    input  logic        rst_i,
    input  logic [31:0] s_axis_tdata,
    input  logic        s_axis_tvalid,
    output logic        s_axis_tready,
    input  logic        s_axis_tlast,
    output logic [31:0] m_axis_tdata,
    output logic        m_axis_tvalid,
    input  logic        m_axis_tready,
    output logic        m_axis_tlast,
    input  logic        reg_write_i,
    input  logic [ 3:0] reg_addr_i,
    input  logic [31:0] reg_wdata_i,
    output logic [31:0] reg_rdata_o,
    output logic        token_done_o  // a token's last cycle
);
  localparam int unsigned IndexWidth = 16;
  localparam int unsigned Mats = Layers * 7 + 1;
  localparam int unsigned Share = QHeads / KvHeads;
  localparam int unsigned Rounds = KvHeads / Units;
  localparam int unsigned Chunk = Vec < HeadDim ? Vec : HeadDim;
  localparam int unsigned WordHeads = Vec / Chunk;
  localparam int unsigned DimWords = Dim / Vec;
  localparam int unsigned QWords = QHeads * HeadDim / Vec;
  localparam int unsigned KvWords = KvHeads * HeadDim / Vec;
  localparam int unsigned FfnWords = Ffn / Vec;
  localparam int unsigned VocabWords = (Vocab + Vec - 1) / Vec;
  localparam int unsigned RoundWidth = Rounds > 1 ? $clog2(Rounds) : 1;
  localparam int unsigned RemWidth = QWords > 1 ? $clog2(QWords) : 1;
  localparam int unsigned BlockWords = Lanes / Vec;
  localparam int unsigned HoldWidth = BlockWords > 1 ? $clog2(BlockWords) : 1;
  localparam int unsigned PositionWidth = $clog2(Context + 1);
  localparam int unsigned TokenWidth = $clog2(Vocab);

  // Words of Taps columns, and of Vec elements written with zeros up to a whole word of Taps.
  localparam int unsigned DimTaps = (Dim + Taps - 1) / Taps;
  localparam int unsigned HeadTaps = (QHeads * HeadDim + Taps - 1) / Taps;
  localparam int unsigned FfnTaps = (Ffn + Taps - 1) / Taps;
  localparam int unsigned TapWords = Taps > Vec ? Taps / Vec : 1;
  localparam int unsigned DimPadded = Taps > Vec ? DimTaps * TapWords : DimWords;
  localparam int unsigned HeadPadded = Taps > Vec ? HeadTaps * TapWords : QWords;
  localparam int unsigned FfnPadded = Taps > Vec ? FfnTaps * TapWords : FfnWords;

  // The first word of a sweep leaves when the input is ahead of it: four cycles, and what is read faster than it is written.
  localparam int unsigned DimStart = 4 + (DimPadded > DimTaps ? DimPadded - DimTaps : 0);
  localparam int unsigned HeadStart = 4 + (HeadPadded > HeadTaps ? HeadPadded - HeadTaps : 0);
  localparam int unsigned FfnStart = 4 + (FfnPadded > FfnTaps ? FfnPadded - FfnTaps : 0);

  localparam int unsigned MostPadded = FfnPadded > HeadPadded ? (FfnPadded > DimPadded ? FfnPadded : DimPadded)
                                                              : (HeadPadded > DimPadded ? HeadPadded : DimPadded);

  logic begin_token, go, go_attention, go_fly;
  logic [2:0] stage;
  logic [TokenWidth-1:0] token, sampled, out_token;
  logic [PositionWidth-1:0] position;
  logic residual_done, heads_done, attention_done, gate_done, fly_done, sampler_done;
  logic clear, stop_valid, seed;
  logic [30:0] stop_token;
  logic [31:0] length, cycles;
  logic [22:0] inv_temperature;
  logic [16:0] min_p;
  logic [63:0] seed_value;

  burin_port #(
      .Vocab(Vocab),
      .Context(Context),
      .Hash(Hash)
  ) u_port (
      .clk_i,
      .rst_i,
      .reg_write_i,
      .reg_addr_i,
      .reg_wdata_i,
      .reg_rdata_o,
      .position_i(32'(position)),
      .cycles_i(cycles),
      .clear_o(clear),
      .length_o(length),
      .stop_valid_o(stop_valid),
      .stop_token_o(stop_token),
      .inv_temperature_o(inv_temperature),
      .min_p_o(min_p),
      .seed_o(seed),
      .seed_value_o(seed_value)
  );

  burin_sequencer #(
      .Layers(Layers),
      .Context(Context),
      .Vocab(Vocab)
  ) u_sequencer (
      .clk_i,
      .rst_i,
      .clear_i(clear),
      .length_i(length),
      .stop_valid_i(stop_valid && 32'(stop_token) < Vocab),
      .stop_token_i(TokenWidth'(32'(stop_token))),
      .in_valid_i(s_axis_tvalid),
      .in_ready_o(s_axis_tready),
      .in_token_i(TokenWidth'(s_axis_tdata % Vocab)),
      .in_last_i(s_axis_tlast),
      .out_valid_o(m_axis_tvalid),
      .out_ready_i(m_axis_tready),
      .out_token_o(out_token),
      .out_last_o(m_axis_tlast),
      .begin_o(begin_token),
      .token_o(token),
      .position_o(position),
      .go_o(go),
      .stage_o(stage),
      .go_attention_o(go_attention),
      .go_fly_o(go_fly),
      .residual_done_i(residual_done),
      .heads_done_i(heads_done),
      .attention_done_i(attention_done),
      .gate_done_i(gate_done),
      .fly_done_i(fly_done),
      .sampler_done_i(sampler_done),
      .sampled_i(sampled),
      .token_done_o,
      .cycles_o(cycles)
  );
  assign m_axis_tdata = 32'(out_token);

  // Input of a stage: which vector, how long, and its scale.
  logic from_residual, from_attention, from_gate, quantise_read, a_write, sum_valid;
  logic [IndexWidth-1:0] quantise_words, quantise_padded, quantise_index, a_index;
  logic [31:0] residual_max, attention_max, gate_max, quantise_max;
  logic [Vec*32-1:0] residual_data, attention_data, gate_data, quantise_data;
  logic [Vec*8-1:0] a;
  logic [8:0] step_u;
  logic signed [6:0] step_e, over;
  logic [47:0] sum;
  logic root_ready, ready;
  logic [15:0] root_m;
  logic signed [9:0] root_e, scale_e;
  logic [16:0] scale_m;

  assign from_attention = stage == burin_pkg::StageO;
  assign from_gate = stage == burin_pkg::StageDown;
  assign from_residual = !from_attention && !from_gate;

  always_comb begin
    if (from_attention) begin
      quantise_words = IndexWidth'(QWords);
      quantise_padded = IndexWidth'(HeadPadded);
      quantise_max = attention_max;
      quantise_data = attention_data;
    end else if (from_gate) begin
      quantise_words = IndexWidth'(FfnWords);
      quantise_padded = IndexWidth'(FfnPadded);
      quantise_max = gate_max;
      quantise_data = gate_data;
    end else begin
      quantise_words = IndexWidth'(DimWords);
      quantise_padded = IndexWidth'(DimPadded);
      quantise_max = residual_max;
      quantise_data = residual_data;
    end
  end

  burin_quantise #(
      .Vec(Vec),
      .IndexWidth(IndexWidth)
  ) u_quantise (
      .clk_i,
      .rst_i,
      .go_i(go),
      .words_i(quantise_words),
      .padded_i(quantise_padded),
      .max_i(quantise_max),
      .read_o(quantise_read),
      .index_o(quantise_index),
      .data_i(quantise_data),
      .write_o(a_write),
      .write_index_o(a_index),
      .a_o(a),
      .step_u_o(step_u),
      .step_e_o(step_e),
      .sum_o(sum),
      .sum_valid_o(sum_valid)
  );

  burin_root #(
      .Radix(Radix),
      .RootDim(RootDim),
      .Eps(Eps)
  ) u_root (
      .clk_i,
      .rst_i,
      .clear_i(go),
      .start_i(sum_valid && from_residual),
      .sum_i(sum),
      .step_u_i(step_u),
      .step_e_i(step_e),
      .ready_o(root_ready),
      .m_o(root_m),
      .e_o(root_e)
  );

  assign ready = from_residual ? root_ready : 1'b1;
  assign scale_m = from_residual ? 17'(root_m) : {step_u, 8'd0};
  assign scale_e = from_residual ? root_e : 10'(step_e) + (from_gate ? 10'(over) : 10'sd0) - 10'sd20;

  // Weights.
  logic issue, first, group_first, group_end, mat_end, load_hold, drain, drain_mat_end, drain_end;
  logic [IndexWidth-1:0] word, drain_word;
  logic [HoldWidth-1:0] drain_index;
  logic [2:0] drain_mat;
  logic [Taps*8-1:0] taps;
  logic [Vec*32-1:0] acc;

  burin_sweep #(
      .IndexWidth(IndexWidth),
      .Taps(Taps),
      .BlockWords(BlockWords),
      .Words({32'(DimTaps), 32'(FfnTaps), 32'(DimTaps), 32'(DimTaps), 32'(HeadTaps), 32'(DimTaps), 32'(DimTaps), 32'(DimTaps)}),
      .RowWords({32'(VocabWords), 32'(DimWords), 32'(FfnWords), 32'(FfnWords), 32'(DimWords), 32'(KvWords), 32'(KvWords), 32'(QWords)}),
      .Start({32'(DimStart), 32'(FfnStart), 32'(DimStart), 32'(HeadStart), 32'(DimStart)})
  ) u_sweep (
      .clk_i,
      .rst_i,
      .go_i(go),
      .stage_i(stage),
      .ready_i(ready),
      .issue_o(issue),
      .word_o(word),
      .first_o(first),
      .group_first_o(group_first),
      .group_end_o(group_end),
      .mat_end_o(mat_end),
      .load_hold_o(load_hold),
      .drain_o(drain),
      .drain_index_o(drain_index),
      .drain_word_o(drain_word),
      .drain_mat_o(drain_mat),
      .drain_mat_end_o(drain_mat_end),
      .drain_end_o(drain_end)
  );

  burin_activations #(
      .Size(MostPadded * Vec),
      .Vec(Vec),
      .Taps(Taps),
      .IndexWidth(IndexWidth)
  ) u_activations (
      .clk_i,
      .write_i(a_write),
      .write_index_i(a_index),
      .a_i(a),
      .read_i(issue),
      .index_i(word),
      .a_o(taps)
  );

  burin_bank #(
      .Lanes(Lanes),
      .Taps(Taps),
      .Vec(Vec),
      .CodeBits(CodeBits),
      .Mats(Mats),
      .ScaleWords(ScaleWords),
      .Width(Width),
      .Depth(CodeWords)
  ) u_bank (
      .clk_i,
      .begin_i(begin_token),
      .issue_i(issue),
      .first_i(first),
      .group_first_i(group_first),
      .group_end_i(group_end),
      .mat_end_i(mat_end),
      .a_i(taps),
      .load_hold_i(load_hold),
      .drain_i(drain),
      .index_i(drain_index),
      .acc_o(acc)
  );

  // Results.
  logic soon, y_valid, y_end;
  logic [2:0] soon_mat, y_mat;
  logic [IndexWidth-1:0] soon_word, y_word;
  logic [Vec*32-1:0] y;
  logic to_residual, to_heads;

  burin_finish #(
      .Vec(Vec),
      .IndexWidth(IndexWidth),
      .Mats(Mats),
      .RowWords(RowScaleWords),
      .Exponent(Exponent)
  ) u_finish (
      .clk_i,
      .rst_i,
      .begin_i(begin_token),
      .drain_i(drain),
      .mat_i(drain_mat),
      .word_i(drain_word),
      .mat_end_i(drain_mat_end),
      .end_i(drain_end),
      .acc_i(acc),
      .m_i(scale_m),
      .e_i(scale_e),
      .soon_o(soon),
      .soon_mat_o(soon_mat),
      .soon_word_o(soon_word),
      .valid_o(y_valid),
      .mat_o(y_mat),
      .word_o(y_word),
      .end_o(y_end),
      .y_o(y)
  );

  assign to_residual = y_mat == burin_pkg::MatO || y_mat == burin_pkg::MatDown;
  assign to_heads = y_mat == burin_pkg::MatQ || y_mat == burin_pkg::MatK || y_mat == burin_pkg::MatV;

  // The residual stream, set by the embedding.
  logic embed_valid, embed_end;
  logic [IndexWidth-1:0] embed_word;
  logic [Vec*32-1:0] embed_y;

  burin_embed #(
      .Vec(Vec),
      .IndexWidth(IndexWidth),
      .Vocab(Vocab),
      .DimWords(DimWords),
      .Bits(EmbedBits),
      .Levels(1 << EmbedBits),
      .Level(EmbedLevel),
      .Shift(EmbedShift)
  ) u_embed (
      .clk_i,
      .rst_i,
      .go_i(begin_token),
      .token_i(token),
      .valid_o(embed_valid),
      .word_o(embed_word),
      .end_o(embed_end),
      .y_o(embed_y)
  );

  burin_residual #(
      .Vec(Vec),
      .IndexWidth(IndexWidth),
      .DimWords(DimWords)
  ) u_residual (
      .clk_i,
      .rst_i,
      .set_i(embed_valid),
      .add_i(y_valid && to_residual),
      .word_i(embed_valid ? embed_word : y_word),
      .end_i(embed_valid ? embed_end : y_end),
      .y_i(embed_valid ? embed_y : y),
      .soon_i(soon && (soon_mat == burin_pkg::MatO || soon_mat == burin_pkg::MatDown)),
      .soon_word_i(soon_word),
      .read_i(quantise_read && from_residual),
      .index_i(quantise_index),
      .data_o(residual_data),
      .max_o(residual_max),
      .done_o(residual_done)
  );

  // Queries, keys and values.
  logic rotated_valid, head_valid;
  logic [Vec*32-1:0] rotated;
  logic [2:0] head_mat;
  logic [RoundWidth-1:0] head_round;
  logic [RemWidth-1:0] head_rem;
  logic [Vec*8-1:0] head_a;
  logic [WordHeads*9-1:0] head_u;
  logic [WordHeads*7-1:0] head_e;

  burin_rotary #(
      .Vec(Vec),
      .IndexWidth(IndexWidth),
      .HeadDim(HeadDim),
      .RotaryDims(RotaryDims),
      .PositionWidth(PositionWidth),
      .HighDepth((Context + 63) / 64)
  ) u_rotary (
      .clk_i,
      .rst_i,
      .begin_i(begin_token),
      .position_i(position),
      .valid_i(y_valid && to_heads),
      .rotate_i(y_mat != burin_pkg::MatV),
      .word_i(y_word),
      .y_i(y),
      .valid_o(rotated_valid),
      .y_o(rotated)
  );

  burin_heads #(
      .Vec(Vec),
      .HeadDim(HeadDim),
      .QWords(QWords),
      .KvWords(KvWords),
      .QRoundWords(QWords / Rounds),
      .KvRoundWords(KvWords / Rounds),
      .RoundWidth(RoundWidth),
      .RemWidth(RemWidth)
  ) u_heads (
      .clk_i,
      .rst_i,
      .go_i(go && stage == burin_pkg::StageQkv),
      .valid_i(rotated_valid),
      .y_i(rotated),
      .valid_o(head_valid),
      .mat_o(head_mat),
      .round_o(head_round),
      .rem_o(head_rem),
      .a_o(head_a),
      .u_o(head_u),
      .e_o(head_e),
      .done_o(heads_done)
  );

  burin_attention #(
      .Vec(Vec),
      .HeadDim(HeadDim),
      .Share(Share),
      .Units(Units),
      .Rounds(Rounds),
      .Scan(Scan),
      .Layers(Layers),
      .Context(Context),
      .PositionWidth(PositionWidth),
      .IndexWidth(IndexWidth),
      .Radix(Radix),
      .RoundWidth(RoundWidth),
      .RemWidth(RemWidth)
  ) u_attention (
      .clk_i,
      .rst_i,
      .begin_i(begin_token),
      .position_i(position),
      .head_valid_i(head_valid),
      .head_mat_i(head_mat),
      .head_round_i(head_round),
      .head_rem_i(head_rem),
      .head_a_i(head_a),
      .head_u_i(head_u),
      .head_e_i(head_e),
      .go_i(go_attention),
      .read_i(quantise_read && from_attention),
      .index_i(quantise_index),
      .data_o(attention_data),
      .max_o(attention_max),
      .done_o(attention_done)
  );

  burin_gate #(
      .Vec(Vec),
      .IndexWidth(IndexWidth),
      .Ffn(Ffn)
  ) u_gate (
      .clk_i,
      .rst_i,
      .soon_i(soon && soon_mat == burin_pkg::MatUp),
      .soon_word_i(soon_word),
      .gate_i(y_valid && y_mat == burin_pkg::MatGate),
      .up_i(y_valid && y_mat == burin_pkg::MatUp),
      .word_i(y_word),
      .end_i(y_end),
      .y_i(y),
      .done_o(gate_done),
      .fly_i(go_fly),
      .fly_done_o(fly_done),
      .over_o(over),
      .read_i(quantise_read && from_gate),
      .index_i(quantise_index),
      .data_o(gate_data),
      .max_o(gate_max)
  );

  burin_sampler #(
      .Vec(Vec),
      .IndexWidth(IndexWidth),
      .Vocab(Vocab)
  ) u_sampler (
      .clk_i,
      .rst_i,
      .seed_i(seed),
      .seed_value_i(seed_value),
      .inv_temperature_i(inv_temperature),
      .min_p_i(min_p),
      .valid_i(y_valid && y_mat == burin_pkg::MatHead),
      .word_i(y_word),
      .end_i(y_end),
      .z_i(y),
      .done_o(sampler_done),
      .token_o(sampled)
  );
endmodule
