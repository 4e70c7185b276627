// Attention of one token in one layer: Units key-value heads at a time, in Rounds rounds; all query heads that share one together.
//
// Each round scans the keys (Scan positions a cycle), then the values, divides, and writes its heads' outputs, Vec elements a cycle:
// o = shr(acc R, nd + 6 - emax).  read_i, index_i and max_o are the quantiser's.
// Timing: go_i in cycle c, done_o in c + 5 + Rounds (2 n + 13 + ceil(17 / Radix) + RoundWords), where n = position / Scan + 1.
module burin_attention #(
    parameter int unsigned Vec = 16,
    parameter int unsigned HeadDim = 16,
    parameter int unsigned Share = 2,
    parameter int unsigned Units = 2,
    parameter int unsigned Rounds = 1,
    parameter int unsigned Scan = 4,
    parameter int unsigned Layers = 5,
    parameter int unsigned Context = 512,
    parameter int unsigned PositionWidth = 9,
    parameter int unsigned IndexWidth = 16,
    parameter int unsigned Radix = 4,
    parameter int unsigned RoundWidth = 1,
    parameter int unsigned RemWidth = 3,
    localparam int unsigned Chunk = Vec < HeadDim ? Vec : HeadDim,
    localparam int unsigned Heads = Vec / Chunk
) (
    input  logic                     clk_i,
    input  logic                     rst_i,
    input  logic                     begin_i,
    input  logic [PositionWidth-1:0] position_i,
    input  logic                     head_valid_i,
    input  logic [              2:0] head_mat_i,
    input  logic [   RoundWidth-1:0] head_round_i,
    input  logic [     RemWidth-1:0] head_rem_i,
    input  logic [        Vec*8-1:0] head_a_i,
    input  logic [      Heads*9-1:0] head_u_i,
    input  logic [      Heads*7-1:0] head_e_i,
    input  logic                     go_i,
    input  logic                     read_i,
    input  logic [   IndexWidth-1:0] index_i,
    output logic [       Vec*32-1:0] data_o,
    output logic [             31:0] max_o,
    output logic                     done_o
);
  localparam int unsigned Rows = (Context + Scan - 1) / Scan;
  localparam int unsigned RowWidth = Rows > 1 ? $clog2(Rows) : 1;
  localparam int unsigned CacheDepth = Layers * Rounds * Rows;
  localparam int unsigned CacheWidth = CacheDepth > 1 ? $clog2(CacheDepth) : 1;
  localparam int unsigned RoundWords = Units * Share * HeadDim / Vec;
  localparam int unsigned OutWords = Rounds * RoundWords;
  localparam int unsigned OutWidth = OutWords > 1 ? $clog2(OutWords) : 1;
  localparam int unsigned Parts = HeadDim / Chunk;

  localparam logic [2:0] Idle = 3'd0;
  localparam logic [2:0] Score = 3'd1;
  localparam logic [2:0] Largest = 3'd2;  // until the largest score is known
  localparam logic [2:0] Value = 3'd3;
  localparam logic [2:0] Sums = 3'd4;     // until the sums are complete
  localparam logic [2:0] Divide = 3'd5;
  localparam logic [2:0] Out = 3'd6;

  logic [2:0] state_q;
  logic [2:0] wait_q;
  logic [RowWidth-1:0] row_q, row_last;
  logic [RoundWidth-1:0] round_q;
  logic [RemWidth-1:0] out_q;
  logic [OutWidth-1:0] out_word_q;
  logic [CacheWidth-1:0] layer_base_q, base_q;
  logic [Scan-1:0] slot, keep;
  logic row_ends, out, out_ends, round_ends, divided;

  assign row_last = RowWidth'(32'(position_i) / Scan);
  assign row_ends = row_q == row_last;
  assign out = state_q == Out;
  assign out_ends = 32'(out_q) == RoundWords - 1;
  assign round_ends = 32'(round_q) == Rounds - 1;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      state_q <= Idle;
    end else begin
      case (state_q)
        Idle: if (go_i) state_q <= Score;
        Score: if (row_ends) state_q <= Largest;
        Largest: if (wait_q == 3'd4) state_q <= Value;
        Value: if (row_ends) state_q <= Sums;
        Sums: if (wait_q == 3'd5) state_q <= Divide;
        Divide: if (divided) state_q <= Out;
        default: if (out_ends) state_q <= round_ends ? Idle : Score;
      endcase
    end
    wait_q <= state_q == Largest || state_q == Sums ? wait_q + 3'd1 : 3'd0;
    row_q <= (state_q == Score || state_q == Value) && !row_ends ? row_q + 1'b1 : '0;
    out_q <= out && !out_ends ? out_q + 1'b1 : '0;
    if (begin_i) layer_base_q <= '0;
    else if (out && out_ends && round_ends) layer_base_q <= layer_base_q + CacheWidth'(Rounds * Rows);
    if (go_i) begin
      round_q <= '0;
      base_q <= layer_base_q;
      out_word_q <= '0;
    end else if (out) begin
      out_word_q <= out_word_q + 1'b1;
      if (out_ends) begin
        round_q <= round_q + 1'b1;
        base_q <= base_q + CacheWidth'(Rows);
      end
    end
  end

  for (genvar j = 0; j < Scan; j++) begin : gen_slot
    assign slot[j] = 32'(position_i) % Scan == j;
    assign keep[j] = 32'(row_q) * Scan + j <= 32'(position_i);
  end

  // The units.
  logic [Units*Share*HeadDim*48-1:0] acc;
  logic [Units*Share*17-1:0] reciprocal;
  logic [Units*Share*10-1:0] shift;
  logic [Units-1:0] unit_divided;

  assign divided = &unit_divided;

  for (genvar u = 0; u < Units; u++) begin : gen_unit
    burin_attention_unit #(
        .Unit(u),
        .Share(Share),
        .HeadDim(HeadDim),
        .Vec(Vec),
        .Scan(Scan),
        .Rounds(Rounds),
        .RoundWidth(RoundWidth),
        .RemWidth(RemWidth),
        .RowWidth(RowWidth),
        .CacheDepth(CacheDepth),
        .Rows(Rows),
        .Radix(Radix)
    ) u_unit (
        .clk_i,
        .rst_i,
        .head_valid_i,
        .head_mat_i,
        .head_round_i,
        .head_rem_i,
        .head_a_i,
        .head_u_i,
        .head_e_i,
        .write_slot_i(slot),
        .write_base_i(layer_base_q + CacheWidth'(32'(row_last))),
        .round_i(round_q),
        .base_i(base_q),
        .row_i(row_q),
        .score_i(state_q == Score),
        .score_first_i(row_q == '0),
        .value_i(state_q == Value),
        .value_first_i(row_q == '0),
        .keep_i(keep),
        .divide_i(state_q == Sums && wait_q == 3'd5),
        .divided_o(unit_divided[u]),
        .acc_o(acc[u*Share*HeadDim*48+:Share*HeadDim*48]),
        .reciprocal_o(reciprocal[u*Share*17+:Share*17]),
        .shift_o(shift[u*Share*10+:Share*10])
    );
  end

  // Outputs of a round, Vec elements a cycle.  Of a sum the bits that Context weights of 15 bits times values of 8 can fill.
  localparam int unsigned AccWidth = 23 + $clog2(Context);
  logic [3:1] valid_q, end_q;
  logic [OutWidth-1:0] word1_q, word2_q, word3_q;
  logic [Vec*32-1:0] y;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      valid_q <= '0;
      end_q <= '0;
    end else begin
      valid_q <= {valid_q[2:1], out};
      end_q <= {end_q[2:1], out && out_ends && round_ends};
    end
    {word3_q, word2_q, word1_q} <= {word2_q, word1_q, out_word_q};
  end

  burin_ram #(
      .Width(Vec * 32),
      .Depth(OutWords)
  ) u_ram (
      .clk_i,
      .write_i(valid_q[3]),
      .write_addr_i(word3_q),
      .data_i(y),
      .read_i,
      .read_addr_i(OutWidth'(32'(index_i))),
      .data_o
  );

  for (genvar h = 0; h < Heads; h++) begin : gen_head
    logic [16:0] r_q;
    logic signed [9:0] shift1_q, shift2_q;
    logic [31:0] head;
    assign head = 32'(out_q) / Parts * Heads + h;  // within the round
    always_ff @(posedge clk_i) begin
      if (out) begin
        r_q <= reciprocal[head*17+:17];
        shift1_q <= shift[head*10+:10];
      end
      if (valid_q[1]) shift2_q <= shift1_q;
    end
    for (genvar i = 0; i < Chunk; i++) begin : gen_lane
      logic signed [AccWidth-1:0] acc_q;
      logic signed [63:0] product_q;
      always_ff @(posedge clk_i) begin
        if (out) acc_q <= AccWidth'(acc[(32'(out_q)*Vec+h*Chunk+i)*48+:48]);
        if (valid_q[1]) product_q <= 64'(acc_q) * 64'($signed({1'b0, r_q}));
        if (valid_q[2]) y[(h*Chunk+i)*32+:32] <= burin_pkg::shr(product_q, shift2_q);
      end
    end
  end

  burin_max #(
      .Vec(Vec)
  ) u_max (
      .clk_i,
      .rst_i,
      .valid_i(valid_q[3]),
      .first_i(word3_q == '0),
      .end_i(end_q[3]),
      .x_i(y),
      .max_o,
      .done_o
  );
endmodule
