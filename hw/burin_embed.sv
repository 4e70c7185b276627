// Reads a token's row of the embedding: h = shr(level * row scale, -(exponent + 12)), Vec elements a cycle.
//
// Timing: go_i in cycle c; word i leaves in cycle c + 4 + i, as results leave burin_finish.
module burin_embed #(
    parameter int unsigned Vec = 16,
    parameter int unsigned IndexWidth = 16,
    parameter int unsigned Vocab = 512,
    parameter int unsigned DimWords = 4,
    parameter int unsigned Bits = 8,
    parameter int unsigned Levels = 256,             // 2^Bits
    parameter logic [Levels*8-1:0] Level = '0,
    parameter logic signed [9:0] Shift = 10'sd0,     // -(exponent + 12)
    parameter ImageCodes = "rom/embed_codes.hex",
    parameter ImageRows = "rom/embed_scales.hex",
    localparam int unsigned TokenWidth = $clog2(Vocab)
) (
    input  logic                  clk_i,
    input  logic                  rst_i,
    input  logic                  go_i,
    input  logic [TokenWidth-1:0] token_i,  // stays while the row is read
    output logic                  valid_o,
    output logic [IndexWidth-1:0] word_o,
    output logic                  end_o,
    output logic [    Vec*32-1:0] y_o
);
  localparam int unsigned Depth = Vocab * DimWords;
  localparam int unsigned AddrWidth = $clog2(Depth);

  logic run_q, read, last;
  logic [IndexWidth-1:0] index_q, index, index1_q, index2_q, index3_q, index4_q;
  logic [4:1] valid_q, last_q;
  logic [Vec*Bits-1:0] codes;
  logic [15:0] row_scale, row_scale_q;

  assign read = go_i || run_q;
  assign index = run_q ? index_q : '0;
  assign last = index == IndexWidth'(DimWords - 1);

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      run_q <= 1'b0;
      valid_q <= '0;
    end else begin
      if (read) run_q <= !last;
      valid_q <= {valid_q[3:1], read};
    end
    if (read) index_q <= index + IndexWidth'(1);
    last_q <= {last_q[3:1], last};
    {index4_q, index3_q, index2_q, index1_q} <= {index3_q, index2_q, index1_q, index};
    row_scale_q <= row_scale;
  end

  burin_rom #(
      .Width(Vec * Bits),
      .Depth(Depth),
      .ImageFile(ImageCodes)
  ) u_codes (
      .clk_i,
      .en_i(read),
      .addr_i(AddrWidth'(token_i) * AddrWidth'(DimWords) + AddrWidth'(index)),
      .data_o(codes)
  );

  burin_rom #(
      .Width(16),
      .Depth(Vocab),
      .ImageFile(ImageRows)
  ) u_rows (
      .clk_i,
      .en_i(read),
      .addr_i(token_i),
      .data_o(row_scale)
  );

  for (genvar i = 0; i < Vec; i++) begin : gen_lane
    logic signed [7:0] level_q;
    logic signed [24:0] product_q;
    always_ff @(posedge clk_i) begin
      if (valid_q[1]) level_q <= Level[codes[i*Bits+:Bits]*8+:8];
      if (valid_q[2]) product_q <= 25'(level_q) * 25'($signed({1'b0, row_scale_q}));
      if (valid_q[3]) y_o[i*32+:32] <= burin_pkg::shr(64'(product_q), Shift);
    end
  end

  assign valid_o = valid_q[4];
  assign word_o = index4_q;
  assign end_o = last_q[4] && valid_q[4];
endmodule
