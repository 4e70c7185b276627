// Walks a token through the machine: embedding, the stages of every layer, the head, the sampler.  No program: one state a stage,
// one counter of layers.  Takes tokens from the stream until it is told to write, then feeds its own tokens back.
//
// Timing: go_o is high in the first cycle of each stage, the cycle behind the done_i of the one before.  begin_o marks the first
// cycle of a token, one behind the cycle in which it was taken.
module burin_sequencer #(
    parameter int unsigned Layers = 5,
    parameter int unsigned Context = 512,
    parameter int unsigned Vocab = 512,
    localparam int unsigned PositionWidth = $clog2(Context + 1),
    localparam int unsigned TokenWidth = $clog2(Vocab)
) (
    input  logic                     clk_i,
    input  logic                     rst_i,
    // settings
    input  logic                     clear_i,      // forgets the context as soon as no token is worked on
    input  logic [             31:0] length_i,     // tokens to write behind a prompt
    input  logic                     stop_valid_i,
    input  logic [   TokenWidth-1:0] stop_token_i,
    // tokens in and out
    input  logic                     in_valid_i,
    output logic                     in_ready_o,
    input  logic [   TokenWidth-1:0] in_token_i,
    input  logic                     in_last_i,
    output logic                     out_valid_o,
    input  logic                     out_ready_i,
    output logic [   TokenWidth-1:0] out_token_o,
    output logic                     out_last_o,
    // the machine
    output logic                     begin_o,
    output logic [   TokenWidth-1:0] token_o,
    output logic [PositionWidth-1:0] position_o,
    output logic                     go_o,         // a stage that sweeps weights begins: stage_o
    output logic [              2:0] stage_o,
    output logic                     go_attention_o,
    output logic                     go_fly_o,
    input  logic                     residual_done_i,
    input  logic                     heads_done_i,
    input  logic                     attention_done_i,
    input  logic                     gate_done_i,
    input  logic                     fly_done_i,
    input  logic                     sampler_done_i,
    input  logic [   TokenWidth-1:0] sampled_i,
    output logic                     token_done_o, // the token's last cycle
    output logic [             31:0] cycles_o      // of the token before
);
  localparam int unsigned LayerWidth = Layers > 1 ? $clog2(Layers) : 1;

  localparam logic [3:0] Idle = 4'd0;
  localparam logic [3:0] Embed = 4'd1;
  localparam logic [3:0] Qkv = 4'd2;
  localparam logic [3:0] Attention = 4'd3;
  localparam logic [3:0] Output = 4'd4;
  localparam logic [3:0] GateUp = 4'd5;
  localparam logic [3:0] Fly = 4'd6;
  localparam logic [3:0] Down = 4'd7;
  localparam logic [3:0] Head = 4'd8;
  localparam logic [3:0] Emit = 4'd9;

  logic [3:0] state_q, state_d;
  logic go_q, write_q, clear_q, clear;
  logic [LayerWidth-1:0] layer_q;
  logic [PositionWidth-1:0] position_q;
  logic [TokenWidth-1:0] token_q;
  logic [31:0] left_q, count_q;
  logic take, emitted, finished, full, last_layer, stage_valid;

  assign full = 32'(position_q) == Context;
  assign clear = clear_i || clear_q;
  assign in_ready_o = state_q == Idle && !full && !clear;
  assign take = in_valid_i && in_ready_o;
  assign last_layer = 32'(layer_q) == Layers - 1;
  assign emitted = state_q == Emit && out_ready_i;
  assign finished = left_q == 32'd1 || (stop_valid_i && sampled_i == stop_token_i) || full;

  always_comb begin
    state_d = state_q;
    case (state_q)
      Idle: if (take) state_d = Embed;
      Embed: if (residual_done_i) state_d = Qkv;
      Qkv: if (heads_done_i) state_d = Attention;
      Attention: if (attention_done_i) state_d = Output;
      Output: if (residual_done_i) state_d = GateUp;
      GateUp: if (gate_done_i) state_d = Fly;
      Fly: if (fly_done_i) state_d = Down;
      Down: if (residual_done_i) state_d = !last_layer ? Qkv : write_q ? Head : Idle;
      Head: if (sampler_done_i) state_d = Emit;
      default: if (out_ready_i) state_d = finished ? Idle : Embed;
    endcase
  end

  assign token_done_o = (state_q == Down && residual_done_i && last_layer && !write_q) || (state_q == Head && sampler_done_i);

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      state_q <= Idle;
      go_q <= 1'b0;
      position_q <= '0;
      clear_q <= 1'b0;
    end else begin
      state_q <= state_d;
      clear_q <= clear && state_q != Idle;
      go_q <= state_d != state_q;
      if (clear && state_q == Idle) position_q <= '0;
      else if (token_done_o) position_q <= position_q + 1'b1;
    end
    if (take) begin
      token_q <= in_token_i;
      write_q <= in_last_i && length_i != 32'd0;
      left_q <= length_i;
    end else if (emitted) begin
      token_q <= sampled_i;
      left_q <= left_q - 32'd1;
    end
    if (state_q == Embed) layer_q <= '0;
    else if (state_q == Down && residual_done_i) layer_q <= layer_q + 1'b1;
    count_q <= begin_o ? 32'd2 : count_q + 32'd1;
    if (token_done_o) cycles_o <= count_q;
  end

  assign begin_o = go_q && state_q == Embed;
  assign token_o = token_q;
  assign position_o = position_q;
  assign go_o = go_q && stage_valid;
  assign go_attention_o = go_q && state_q == Attention;
  assign go_fly_o = go_q && state_q == Fly;

  always_comb begin
    stage_valid = 1'b1;
    case (state_q)
      Qkv: stage_o = burin_pkg::StageQkv;
      Output: stage_o = burin_pkg::StageO;
      GateUp: stage_o = burin_pkg::StageGateUp;
      Down: stage_o = burin_pkg::StageDown;
      Head: stage_o = burin_pkg::StageHead;
      default: begin
        stage_o = burin_pkg::StageQkv;
        stage_valid = 1'b0;
      end
    endcase
  end

  assign out_valid_o = state_q == Emit;
  assign out_token_o = sampled_i;
  assign out_last_o = finished;
endmodule
