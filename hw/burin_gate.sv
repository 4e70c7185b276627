// The gate: act = shr(shr(g sigmoid(g), 15) u, 12), and the butterfly, a Hadamard of every 64 elements, behind it.
//
// Gate's rows are kept; act is made as up's rows come.  fly_i starts the butterfly over all of act (shifted right by over_o first, so
// that it fits).  read_i, index_i and max_o are the quantiser's.
// Timing: up's word in cycle c (soon_i one ahead) is in the act memory from c + 5 on; done_o is high in c + 6 for the last, before
// max_o stands.  fly_i in cycle c, fly_done_o in c + 5 + Rows, Rows = Ffn / max(Vec, 64); read_i in cycle c, data_o from c + 1 on.
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
  logic [Vec*32-1:0] gate_mem[0:Words-1];
  logic [Vec*32-1:0] g_word;
  logic [4:1] valid_q, end_q;
  logic [IndexWidth-1:0] word1_q, word2_q, word3_q, word4_q;
  logic [Vec*32-1:0] act;

  always_ff @(posedge clk_i) begin
    if (gate_i) gate_mem[WordWidth'(32'(word_i))] <= y_i;
    if (soon_i) g_word <= gate_mem[WordWidth'(32'(soon_word_i))];
    if (rst_i) begin
      valid_q <= '0;
      end_q <= '0;
    end else begin
      valid_q <= {valid_q[3:1], up_i};
      end_q <= {end_q[3:1], up_i && end_i};
    end
    {word4_q, word3_q, word2_q, word1_q} <= {word3_q, word2_q, word1_q, word_i};
  end

  for (genvar i = 0; i < Vec; i++) begin : gen_lane
    logic signed [31:0] g, g1_q, g2_q, u1_q, u2_q, u3_q, silu_q;
    logic [31:0] size;
    logic [15:0] x, low_q, sigma, sigma_q;
    logic [15:0] low, high;
    logic [10:0] rise_q;
    logic [9:0] t_q;

    assign g = g_word[i*32+:32];
    assign size = burin_pkg::magnitude(g);
    assign x = size > 32'd65535 ? 16'd65535 : 16'(size & 32'd65535);
    assign low = burin_tables_pkg::sigmoid({1'b0, x[15:10]});
    assign high = burin_tables_pkg::sigmoid({1'b0, x[15:10]} + 7'd1);
    assign sigma = low_q + 16'((21'(rise_q) * 21'(t_q) + 21'd512) >> 10);

    always_ff @(posedge clk_i) begin
      if (up_i) begin
        g1_q <= g;
        u1_q <= y_i[i*32+:32];
        low_q <= low;
        rise_q <= 11'(high - low);
        t_q <= x[9:0];
      end
      if (valid_q[1]) begin
        g2_q <= g1_q;
        u2_q <= u1_q;
        sigma_q <= g1_q[31] ? 16'd32768 - sigma : sigma;
      end
      if (valid_q[2]) begin
        u3_q <= u2_q;
        silu_q <= burin_pkg::sat32(burin_pkg::rsr(64'(g2_q) * 64'($signed({1'b0, sigma_q})), 6'd15));
      end
      if (valid_q[3]) act[i*32+:32] <= burin_pkg::sat32(burin_pkg::rsr(64'(silu_q) * 64'(u3_q), 6'd12));
    end
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
  assign word_bank = 32'(word4_q) % Banks;

  for (genvar b = 0; b < Banks; b++) begin : gen_bank
    logic [Vec*32-1:0] mem[0:Rows-1];
    logic [Vec*32-1:0] word_q;
    always_ff @(posedge clk_i) begin
      if (fly_q[4]) mem[row4_q] <= whole_q[b*Vec*32+:Vec*32];
      else if (valid_q[4] && word_bank == b) mem[RowWidth'(32'(word4_q)/Banks)] <= act;
      if (fly_read || read_i) word_q <= mem[read_row];
    end
    assign row_data[b*Vec*32+:Vec*32] = word_q;
  end

  always_ff @(posedge clk_i) begin
    if (read_i) read_bank_q <= 32'(index_i) % Banks;
  end
  assign data_o = row_data[read_bank_q*Vec*32+:Vec*32];

  // The largest magnitude: of act, then of the butterfly.
  logic max_done, fly_last_q;
  logic [Wide*32-1:0] max_x;

  always_comb begin
    max_x = fly_q[4] ? whole_q : '0;
    if (!fly_q[4]) max_x[Vec*32-1:0] = act;
  end

  burin_max #(
      .Vec(Wide)
  ) u_max (
      .clk_i,
      .rst_i,
      .valid_i(valid_q[4] || fly_q[4]),
      .first_i(fly_q[4] ? row4_q == '0 : word4_q == '0),
      .end_i(fly_q[4] ? fly_end_q[4] : end_q[4]),
      .x_i(max_x),
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
