// Collects the heads of q, k and v as they come from the rotation, and quantises each by its own step.
//
// Timing: a word in cycle c (valid_i); when the last word of its head came in c, the head's first word may leave in c + 6.  Words
// leave in order, one a cycle: valid_o with a_o, steps and where they belong.  done_o is high with the last of v.
module burin_heads #(
    parameter int unsigned Vec = 16,
    parameter int unsigned HeadDim = 16,
    parameter int unsigned QWords = 4,         // of all heads
    parameter int unsigned KvWords = 2,
    parameter int unsigned QRoundWords = 4,    // of the heads that attention takes in one round
    parameter int unsigned KvRoundWords = 2,
    parameter int unsigned RoundWidth = 1,
    parameter int unsigned RemWidth = 3,
    localparam int unsigned Chunk = Vec < HeadDim ? Vec : HeadDim,
    localparam int unsigned Heads = Vec / Chunk  // in a word
) (
    input  logic                  clk_i,
    input  logic                  rst_i,
    input  logic                  go_i,
    input  logic                  valid_i,
    input  logic [    Vec*32-1:0] y_i,
    output logic                  valid_o,
    output logic [           2:0] mat_o,
    output logic [RoundWidth-1:0] round_o,
    output logic [  RemWidth-1:0] rem_o,    // word within the round
    output logic [     Vec*8-1:0] a_o,
    output logic [   Heads*9-1:0] u_o,
    output logic [   Heads*7-1:0] e_o,
    output logic                  done_o
);
  localparam int unsigned Parts = HeadDim / Chunk;
  localparam int unsigned Total = QWords + 2 * KvWords;
  localparam int unsigned Width = $clog2(Total + 1);
  localparam int unsigned AddrWidth = $clog2(Total);
  localparam int unsigned Entries = Total / Parts;
  localparam int unsigned EntryWidth = Entries > 1 ? $clog2(Entries) : 1;

  // Words come in; the largest magnitude of each head stands beside them.
  logic [Heads*32-1:0] max_mem[0:Entries-1];
  logic [Width-1:0] in_q, in1_q, complete_q;
  logic valid1_q;
  logic [Vec*32-1:0] y1_q;
  logic [Heads*32-1:0] max_q, head_max;
  logic first, ends;

  assign first = 32'(in1_q) % Parts == 0;
  assign ends = 32'(in1_q) % Parts == Parts - 1;

  for (genvar h = 0; h < Heads; h++) begin : gen_max
    logic [31:0] node[1:2*Chunk-1];  // of a tree: the larger of nodes 2 i and 2 i + 1
    logic [31:0] most, so_far;
    always_comb begin
      for (int i = 0; i < Chunk; i++) node[Chunk+i] = burin_pkg::magnitude(y1_q[(h*Chunk+i)*32+:32]);
      for (int i = Chunk - 1; i > 0; i--) node[i] = node[2*i+1] > node[2*i] ? node[2*i+1] : node[2*i];
    end
    assign most = node[1];
    assign so_far = max_q[h*32+:32];
    assign head_max[h*32+:32] = first || most > so_far ? most : so_far;
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) valid1_q <= 1'b0;
    else valid1_q <= valid_i;
    if (go_i) in_q <= '0;
    else if (valid_i) in_q <= in_q + 1'b1;
    in1_q <= in_q;
    if (valid_i) y1_q <= y_i;
    if (valid1_q) begin
      max_q <= head_max;
      max_mem[EntryWidth'(32'(in1_q)/Parts)] <= head_max;
    end
    if (rst_i || go_i) complete_q <= '0;
    else if (valid1_q && ends) complete_q <= in1_q + 1'b1;
  end

  // Words go out: read (0), step (1, 2), 15 bits (2), 8 bits (3).
  logic [Width-1:0] out_q;
  logic read, read_last;
  logic [Vec*32-1:0] data, data1_q;
  logic [Heads*32-1:0] data_max_q;
  logic [4:1] valid_q, last_q;
  logic [2:0] mat_q, mat1_q, mat2_q, mat3_q, mat4_q;
  logic [RoundWidth-1:0] round_q, round1_q, round2_q, round3_q, round4_q;
  logic [RemWidth-1:0] rem_q, rem1_q, rem2_q, rem3_q, rem4_q;
  logic round_ends, mat_ends;

  assign read = out_q < complete_q;
  assign read_last = 32'(out_q) == Total - 1;
  assign round_ends = 32'(rem_q) == (mat_q == burin_pkg::MatQ ? QRoundWords : KvRoundWords) - 1;
  assign mat_ends = 32'(out_q) == QWords - 1 || 32'(out_q) == QWords + KvWords - 1;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      valid_q <= '0;
      last_q <= '0;
      out_q <= '0;
    end else begin
      valid_q <= {valid_q[3:1], read && !go_i};
      last_q <= {last_q[3:1], read && !go_i && read_last};
      if (go_i) out_q <= '0;
      else if (read) out_q <= out_q + 1'b1;
    end
    if (go_i) begin
      mat_q <= burin_pkg::MatQ;
      round_q <= '0;
      rem_q <= '0;
    end else if (read) begin
      if (mat_ends) mat_q <= mat_q + 3'd1;
      rem_q <= round_ends ? '0 : rem_q + 1'b1;
      round_q <= mat_ends ? '0 : round_ends ? round_q + 1'b1 : round_q;
    end
    if (read) data_max_q <= max_mem[EntryWidth'(32'(out_q)/Parts)];
    if (valid_q[1]) data1_q <= data;
    {mat4_q, mat3_q, mat2_q, mat1_q} <= {mat3_q, mat2_q, mat1_q, mat_q};
    {round4_q, round3_q, round2_q, round1_q} <= {round3_q, round2_q, round1_q, round_q};
    {rem4_q, rem3_q, rem2_q, rem1_q} <= {rem3_q, rem2_q, rem1_q, rem_q};
  end

  burin_ram #(
      .Width(Vec * 32),
      .Depth(Total)
  ) u_ram (
      .clk_i,
      .write_i(valid_i),
      .write_addr_i(AddrWidth'(32'(in_q))),
      .data_i(y_i),
      .read_i(read),
      .read_addr_i(AddrWidth'(32'(out_q))),
      .data_o(data)
  );

  for (genvar h = 0; h < Heads; h++) begin : gen_head
    logic [8:0] u, u1_q, u2_q;
    logic signed [6:0] e, e1_q, e2_q;
    logic [14:0] reciprocal;
    burin_step u_step (
        .clk_i,
        .max_i(data_max_q[h*32+:32]),
        .u_o(u),
        .e_o(e),
        .reciprocal_o(reciprocal)
    );
    always_ff @(posedge clk_i) begin
      {u2_q, u1_q} <= {u1_q, u};
      {e2_q, e1_q} <= {e1_q, e};
    end
    assign u_o[h*9+:9] = u2_q;
    assign e_o[h*7+:7] = e2_q;
    for (genvar i = 0; i < Chunk; i++) begin : gen_lane
      logic signed [16:0] t_q;
      always_ff @(posedge clk_i) begin
        if (valid_q[2]) t_q <= burin_pkg::to_15_bits(data1_q[(h*Chunk+i)*32+:32], e);
        if (valid_q[3]) a_o[(h*Chunk+i)*8+:8] <= burin_pkg::to_8_bits(t_q, reciprocal);
      end
    end
  end

  assign valid_o = valid_q[4];
  assign mat_o = mat4_q;
  assign round_o = round4_q;
  assign rem_o = rem4_q;
  assign done_o = last_q[4];
endmodule
