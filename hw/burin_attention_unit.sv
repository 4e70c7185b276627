// Attention for one key-value head at a time and the Share query heads that use it.  burin_attention drives all units alike.
//
// Timing, in cycles behind the one in which a row of Scan positions is read.  First pass (score_i): the scores stand in the score
// memory from +6 on, their largest counts from +7 on.  Second pass (value_i, from +6 of the first's last on): the sums of weights
// are complete from +6 on, those of values from +8 on.  divide_i takes the former; divided_o is high 2 + ceil(17 / Radix) later,
// with reciprocal_o and shift_o.
module burin_attention_unit #(
    parameter int unsigned Unit = 0,
    parameter int unsigned Share = 2,
    parameter int unsigned HeadDim = 16,
    parameter int unsigned Vec = 16,
    parameter int unsigned Scan = 4,
    parameter int unsigned Rounds = 1,
    parameter int unsigned RoundWidth = 1,
    parameter int unsigned RemWidth = 3,
    parameter int unsigned RowWidth = 7,      // of a row within one head's positions
    parameter int unsigned CacheDepth = 640,  // layers * rounds * rows
    parameter int unsigned Rows = 128,
    parameter int unsigned Radix = 4,
    localparam int unsigned Chunk = Vec < HeadDim ? Vec : HeadDim,
    localparam int unsigned Heads = Vec / Chunk,
    localparam int unsigned CacheWidth = CacheDepth > 1 ? $clog2(CacheDepth) : 1
) (
    input  logic                        clk_i,
    input  logic                        rst_i,
    // quantised heads
    input  logic                        head_valid_i,
    input  logic [                 2:0] head_mat_i,
    input  logic [      RoundWidth-1:0] head_round_i,
    input  logic [        RemWidth-1:0] head_rem_i,
    input  logic [           Vec*8-1:0] head_a_i,
    input  logic [         Heads*9-1:0] head_u_i,
    input  logic [         Heads*7-1:0] head_e_i,
    input  logic [            Scan-1:0] write_slot_i,   // one-hot: position mod Scan
    input  logic [      CacheWidth-1:0] write_base_i,   // of round 0, at the position's row
    // passes
    input  logic [      RoundWidth-1:0] round_i,
    input  logic [      CacheWidth-1:0] base_i,         // of the round's rows
    input  logic [        RowWidth-1:0] row_i,
    input  logic                        score_i,
    input  logic                        score_first_i,
    input  logic                        value_i,
    input  logic                        value_first_i,
    input  logic [            Scan-1:0] keep_i,         // which positions of the row there are
    input  logic                        divide_i,
    output logic                        divided_o,
    output logic [Share*HeadDim*48-1:0] acc_o,
    output logic [        Share*17-1:0] reciprocal_o,
    output logic [        Share*10-1:0] shift_o
);
  localparam int unsigned Parts = HeadDim / Chunk;
  localparam int unsigned PartWidth = Parts > 1 ? $clog2(Parts) : 1;
  localparam int unsigned QDepth = Rounds * Parts;
  localparam int unsigned QWidth = QDepth > 1 ? $clog2(QDepth) : 1;

  // Where an incoming word belongs.
  logic [PartWidth-1:0] part;
  logic kv_hit, write_k, write_v;
  logic [CacheWidth-1:0] write_addr;

  assign part = PartWidth'(32'(head_rem_i) % Parts);
  assign kv_hit = 32'(head_rem_i) / Parts == Unit / Heads;
  assign write_k = head_valid_i && head_mat_i == burin_pkg::MatK && kv_hit;
  assign write_v = head_valid_i && head_mat_i == burin_pkg::MatV && kv_hit;
  assign write_addr = write_base_i + CacheWidth'(32'(head_round_i) * Rows);

  // Pipeline marks: what was read n cycles ago.
  logic [6:1] score_q, score_first_q;
  logic [7:1] value_q, value_first_q;
  logic [Scan-1:0] keep1_q, keep2_q, keep3_q, keep4_q, keep5_q;
  logic [RowWidth-1:0] row1_q, row2_q, row3_q, row4_q, row5_q;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      score_q <= '0;
      value_q <= '0;
    end else begin
      score_q <= {score_q[5:1], score_i};
      value_q <= {value_q[6:1], value_i};
    end
    score_first_q <= {score_first_q[5:1], score_first_i};
    value_first_q <= {value_first_q[6:1], value_first_i};
    {keep5_q, keep4_q, keep3_q, keep2_q, keep1_q} <= {keep4_q, keep3_q, keep2_q, keep1_q, keep_i};
    {row5_q, row4_q, row3_q, row2_q, row1_q} <= {row4_q, row3_q, row2_q, row1_q, row_i};
  end

  // The cache.
  logic [CacheWidth-1:0] addr, v_addr;
  logic [Scan*HeadDim*8-1:0] k, v;
  logic [Scan*16-1:0] k_step, v_step;

  assign addr = base_i + CacheWidth'(32'(row_i));
  assign v_addr = base_i + CacheWidth'(32'(row5_q));

  for (genvar j = 0; j < Scan; j++) begin : gen_slot
    burin_kv #(
        .Depth(CacheDepth),
        .ChunkBits(Chunk * 8),
        .Parts(Parts),
        .PartWidth(PartWidth)
    ) u_kv (
        .clk_i,
        .write_k_i(write_k && write_slot_i[j]),
        .write_v_i(write_v && write_slot_i[j]),
        .write_addr_i(write_addr),
        .part_i(part),
        .data_i(head_a_i[(Unit%Heads)*Chunk*8+:Chunk*8]),
        .step_i({head_e_i[(Unit%Heads)*7+:7], head_u_i[(Unit%Heads)*9+:9]}),
        .read_k_i(score_i),
        .read_v_i(value_q[5]),
        .read_steps_i(score_i || value_i),
        .k_addr_i(addr),
        .v_addr_i(v_addr),
        .steps_addr_i(addr),
        .k_o(k[j*HeadDim*8+:HeadDim*8]),
        .v_o(v[j*HeadDim*8+:HeadDim*8]),
        .k_step_o(k_step[j*16+:16]),
        .v_step_o(v_step[j*16+:16])
    );
  end

  // The largest exponent of the values' steps.
  logic signed [6:0] e_node[1:2*Scan-1];  // of a tree: the larger of nodes 2 i and 2 i + 1
  logic signed [6:0] e_max_q;
  always_comb begin
    for (int j = 0; j < Scan; j++) e_node[Scan+j] = keep1_q[j] ? v_step[j*16+9+:7] : -7'sd64;
    for (int j = Scan - 1; j > 0; j--) e_node[j] = e_node[2*j+1] > e_node[2*j] ? e_node[2*j+1] : e_node[2*j];
  end
  always_ff @(posedge clk_i) begin
    if (score_q[1]) e_max_q <= score_first_q[1] || e_node[1] > e_max_q ? e_node[1] : e_max_q;
  end

  logic [Share-1:0] divided;

  for (genvar s = 0; s < Share; s++) begin : gen_share
    localparam int unsigned Head = Unit * Share + s;  // within a round

    // The query.
    logic [Chunk*8-1:0] q_mem[0:QDepth-1];
    logic [15:0] q_step_mem[0:Rounds-1];
    logic [HeadDim*8-1:0] q;
    logic [15:0] q_step;

    always_ff @(posedge clk_i) begin
      if (head_valid_i && head_mat_i == burin_pkg::MatQ && 32'(head_rem_i) / Parts == Head / Heads) begin
        q_mem[QWidth'(32'(head_round_i)*Parts+32'(part))] <= head_a_i[(Head%Heads)*Chunk*8+:Chunk*8];
        q_step_mem[head_round_i] <= {head_e_i[(Head%Heads)*7+:7], head_u_i[(Head%Heads)*9+:9]};
      end
    end
    for (genvar p = 0; p < Parts; p++) begin : gen_q
      assign q[p*Chunk*8+:Chunk*8] = q_mem[QWidth'(32'(round_i)*Parts+p)];
    end
    assign q_step = q_step_mem[round_i];

    // First pass: scores and their largest.
    logic [Scan*32-1:0] z, z_kept;
    logic signed [31:0] z_node[1:2*Scan-1];
    logic signed [31:0] word_max_q, max_q;

    for (genvar j = 0; j < Scan; j++) begin : gen_score
      burin_score #(
          .HeadDim(HeadDim)
      ) u_score (
          .clk_i,
          .valid_i(score_q[1]),
          .q_i(q),
          .k_i(k[j*HeadDim*8+:HeadDim*8]),
          .q_step_i(q_step),
          .k_step_i(k_step[j*16+:16]),
          .z_o(z[j*32+:32])
      );
    end

    always_comb begin
      for (int j = 0; j < Scan; j++) z_node[Scan+j] = keep5_q[j] ? z[j*32+:32] : -32'sh7fff_ffff;
      for (int j = Scan - 1; j > 0; j--) z_node[j] = z_node[2*j+1] > z_node[2*j] ? z_node[2*j+1] : z_node[2*j];
    end

    always_ff @(posedge clk_i) begin
      if (score_q[5]) word_max_q <= z_node[1];
      if (score_q[6]) max_q <= score_first_q[6] || word_max_q > max_q ? word_max_q : max_q;
    end

    burin_ram #(
        .Width(Scan * 32),
        .Depth(Rows)
    ) u_ram (
        .clk_i,
        .write_i(score_q[5]),
        .write_addr_i(row5_q),
        .data_i(z),
        .read_i(value_i),
        .read_addr_i(row_i),
        .data_o(z_kept)
    );

    // Second pass: weights and the sums of values.
    logic [Scan*15-1:0] p, w;
    logic [23:0] p_sum, p_sum_q;
    logic [31:0] den_q;

    for (genvar j = 0; j < Scan; j++) begin : gen_weight
      burin_softmax u_softmax (
          .clk_i,
          .valid_i(value_q[1]),
          .keep_i(keep1_q[j]),
          .z_i(z_kept[j*32+:32]),
          .max_i(max_q),
          .v_step_i(v_step[j*16+:16]),
          .e_max_i(e_max_q),
          .p_o(p[j*15+:15]),
          .w_o(w[j*15+:15])
      );
    end

    always_comb begin
      p_sum = '0;
      for (int j = 0; j < Scan; j++) p_sum = p_sum + 24'(p[j*15+:15]);
    end

    always_ff @(posedge clk_i) begin
      if (value_q[4]) p_sum_q <= p_sum;
      if (value_q[5]) den_q <= (value_first_q[5] ? 32'd0 : den_q) + 32'(p_sum_q);
    end

    for (genvar i = 0; i < HeadDim; i++) begin : gen_value
      logic signed [47:0] row_sum;
      logic signed [47:0] row_sum_q, so_far;
      always_comb begin
        row_sum = '0;
        for (int j = 0; j < Scan; j++) begin
          row_sum = row_sum + 48'($signed({1'b0, w[j*15+:15]})) * 48'($signed(v[(j*HeadDim+i)*8+:8]));
        end
      end
      assign so_far = value_first_q[7] ? 48'sd0 : $signed(acc_o[(s*HeadDim+i)*48+:48]);
      always_ff @(posedge clk_i) begin
        if (value_q[6]) row_sum_q <= row_sum;
        if (value_q[7]) acc_o[(s*HeadDim+i)*48+:48] <= so_far + row_sum_q;
      end
    end

    // R = 2^(nd + 15) / den, and the shift nd + 6 - emax.
    logic [5:0] den_bits;
    logic [31:0] den_normal_q;
    logic start_q;
    assign den_bits = burin_pkg::bit_length(den_q);
    always_ff @(posedge clk_i) begin
      if (rst_i) start_q <= 1'b0;
      else start_q <= divide_i;
      if (divide_i) begin
        den_normal_q <= den_q << (6'd32 - den_bits);
        shift_o[s*10+:10] <= 10'(den_bits) + 10'd6 - 10'(e_max_q);
      end
    end
    burin_divide #(
        .Digits(17),
        .Radix(Radix)
    ) u_divide (
        .clk_i,
        .rst_i,
        .start_i(start_q),
        .n_i(32'h8000_0000),
        .d_i(den_normal_q),
        .done_o(divided[s]),
        .q_o(reciprocal_o[s*17+:17])
    );
  end

  assign divided_o = &divided;
endmodule
