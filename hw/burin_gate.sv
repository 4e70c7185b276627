// The gate: act = shr(shr(g sigmoid(g), 15) u, 12), and the butterfly, a Hadamard of every 64 elements, behind it.
//
// Gate's rows are kept; act is made as up's rows come.  fly_i starts the butterfly over all of act (shifted right by over_o first, so
// that it fits).  read_i, index_i and max_o are the quantiser's.
// Timing: up's word in cycle c (soon_i one ahead) is in the act memory from c + 7 on; done_o is high in c + 9 for the last, before
// max_o stands.  fly_i in cycle c, fly_done_o in c + 6 + Rows, Rows = Ffn / max(Vec, 64); read_i in cycle c, data_o from c + 1 on.
module burin_gate #(
    parameter int unsigned Vec = 16,
    parameter int unsigned IndexWidth = 16,
    parameter int unsigned Ffn = 192
) (
    input  logic                  clk_i,
    input  logic                  rst_i,
    input  logic                  soon_i,
    input  logic [IndexWidth-1:0] soon_word_i,
    input  logic                  gate_i,
    input  logic                  up_i,
    input  logic [IndexWidth-1:0] word_i,
    input  logic                  end_i,
    input  logic [    Vec*32-1:0] y_i,
    output logic                  done_o,
    input  logic                  fly_i,
    output logic                  fly_done_o,
    output logic signed [    6:0] over_o,
    input  logic                  read_i,
    input  logic [IndexWidth-1:0] index_i,
    output logic [    Vec*32-1:0] data_o,
    output logic [          31:0] max_o
);
  localparam int unsigned Wide = Vec > 64 ? Vec : 64;  // elements of the butterfly
  localparam int unsigned Banks = Wide / Vec;
  localparam int unsigned Rows = Ffn / Wide;
  localparam int unsigned RowWidth = Rows > 1 ? $clog2(Rows) : 1;
  localparam int unsigned Words = Ffn / Vec;
  localparam int unsigned WordWidth = Words > 1 ? $clog2(Words) : 1;

  // Gate and act.
  logic [Vec*32-1:0] g_word;
  logic [6:1] valid_q, end_q;
  logic [IndexWidth-1:0] word1_q, word2_q, word3_q, word4_q, word5_q, word6_q;
  logic [Vec*32-1:0] act;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      valid_q <= '0;
      end_q <= '0;
    end else begin
      valid_q <= {valid_q[5:1], up_i};
      end_q <= {end_q[5:1], up_i && end_i};
    end
    {word6_q, word5_q, word4_q, word3_q, word2_q, word1_q} <= {word5_q, word4_q, word3_q, word2_q, word1_q, word_i};
  end

  burin_ram #(
      .Width(Vec * 32),
      .Depth(Words)
  ) u_ram (
      .clk_i,
      .write_i(gate_i),
      .write_addr_i(WordWidth'(32'(word_i))),
      .data_i(y_i),
      .read_i(soon_i),
      .read_addr_i(WordWidth'(32'(soon_word_i))),
      .data_o(g_word)
  );

  for (genvar i = 0; i < Vec; i++) begin : gen_lane
    burin_silu u_silu (
        .clk_i,
        .en_i({valid_q[5:1], up_i}),
        .g_i(g_word[i*32+:32]),
        .u_i(y_i[i*32+:32]),
        .act_o(act[i*32+:32])
    );
  end

  // Butterfly: read (0), shifted (1), three levels (2), three more (3), written (4).
  logic run_q, fly_read, fly_last;
  logic [RowWidth-1:0] row_q, row, row1_q, row2_q, row3_q, row4_q;
  logic [4:1] fly_q, fly_end_q;
  logic [Wide*32-1:0] row_data, shifted_q, half_q, whole_q;
  logic [5:0] bits;
  logic [2:0] over_q;

  assign fly_read = fly_i || run_q;
  assign row = run_q ? row_q : '0;
  assign fly_last = 32'(row) == Rows - 1;
  assign bits = burin_pkg::bit_length(max_o);

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      run_q <= 1'b0;
      fly_q <= '0;
      fly_end_q <= '0;
    end else begin
      if (fly_read) run_q <= !fly_last;
      fly_q <= {fly_q[3:1], fly_read};
      fly_end_q <= {fly_end_q[3:1], fly_read && fly_last};
    end
    if (fly_read) row_q <= row + 1'b1;
    {row4_q, row3_q, row2_q, row1_q} <= {row3_q, row2_q, row1_q, row};
    if (fly_i) over_q <= bits > 6'd24 ? 3'(bits - 6'd24) : 3'd0;  // a magnitude has 31 bits at most
  end

  for (genvar i = 0; i < Wide; i++) begin : gen_shift
    logic signed [31:0] x, y;
    assign x = row_data[i*32+:32];
    assign y = x >>> (over_q - 3'd1);
    always_ff @(posedge clk_i) begin
      if (fly_q[1]) shifted_q[i*32+:32] <= over_q == 3'd0 ? x : 32'((33'(y) + 33'sd1) >>> 1);  // as burin_pkg::rsr
    end
  end

  burin_butterfly #(
      .Width(Wide),
      .Level(0)
  ) u_first (
      .clk_i,
      .en_i(fly_q[2]),
      .x_i(shifted_q),
      .y_o(half_q)
  );

  burin_butterfly #(
      .Width(Wide),
      .Level(3)
  ) u_second (
      .clk_i,
      .en_i(fly_q[3]),
      .x_i(half_q),
      .y_o(whole_q)
  );

  // The act memory.
  logic [RowWidth-1:0] read_row;
  logic [31:0] read_bank_q, word_bank;

  assign read_row = fly_read ? row : RowWidth'(32'(index_i) / Banks);
  assign word_bank = 32'(word6_q) % Banks;

  for (genvar b = 0; b < Banks; b++) begin : gen_bank
    burin_ram #(
        .Width(Vec * 32),
        .Depth(Rows)
    ) u_ram (
        .clk_i,
        .write_i(fly_q[4] || valid_q[6] && word_bank == b),
        .write_addr_i(fly_q[4] ? row4_q : RowWidth'(32'(word6_q) / Banks)),
        .data_i(fly_q[4] ? whole_q[b*Vec*32+:Vec*32] : act),
        .read_i(fly_read || read_i),
        .read_addr_i(read_row),
        .data_o(row_data[b*Vec*32+:Vec*32])
    );
  end

  always_ff @(posedge clk_i) begin
    if (read_i) read_bank_q <= 32'(index_i) % Banks;
  end
  assign data_o = row_data[read_bank_q*Vec*32+:Vec*32];

  // The largest magnitude, of act, then of the butterfly: of eight elements each first.
  localparam int unsigned Eights = Wide / 8;
  logic max_done, fly_last_q, eights_valid_q, eights_first_q, eights_end_q;
  logic [Wide*32-1:0] max_x;
  logic [Eights*32-1:0] eights_q;

  always_comb begin
    max_x = fly_q[4] ? whole_q : '0;
    if (!fly_q[4]) max_x[Vec*32-1:0] = act;
  end

  for (genvar e = 0; e < Eights; e++) begin : gen_eight
    logic [31:0] node[1:15];  // of a tree: the larger of nodes 2 i and 2 i + 1
    always_comb begin
      for (int i = 0; i < 8; i++) node[8+i] = burin_pkg::magnitude(max_x[(e*8+i)*32+:32]);
      for (int i = 7; i > 0; i--) node[i] = node[2*i+1] > node[2*i] ? node[2*i+1] : node[2*i];
    end
    always_ff @(posedge clk_i) begin
      eights_q[e*32+:32] <= node[1];
    end
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      eights_valid_q <= 1'b0;
      eights_end_q <= 1'b0;
    end else begin
      eights_valid_q <= valid_q[6] || fly_q[4];
      eights_end_q <= fly_q[4] ? fly_end_q[4] : end_q[6];
    end
    eights_first_q <= fly_q[4] ? row4_q == '0 : word6_q == '0;
  end

  burin_max #(
      .Vec(Eights)
  ) u_max (
      .clk_i,
      .rst_i,
      .valid_i(eights_valid_q),
      .first_i(eights_first_q),
      .end_i(eights_end_q),
      .x_i(eights_q),
      .max_o,
      .done_o(max_done)
  );

  always_ff @(posedge clk_i) begin
    if (rst_i || fly_done_o) fly_last_q <= 1'b0;
    else if (fly_end_q[4]) fly_last_q <= 1'b1;
  end

  assign done_o = max_done && !fly_last_q;
  assign fly_done_o = max_done && fly_last_q;
  assign over_o = 7'(over_q);
endmodule
