// The weight bank: mask ROMs, product lines, lanes and the hold registers behind them.
//
// Timing (burin_sweep): a word issued in cycle c reaches the accumulators for c + 5; load_hold_i in the cycle in which the block's
// last word has; drain_i with index_i in cycle d, acc_o (Vec rows) from d + 1 on.
module burin_bank #(
    parameter int unsigned Lanes = 16,
    parameter int unsigned Taps = 8,
    parameter int unsigned Vec = 16,
    parameter int unsigned CodeBits = 4,
    parameter int unsigned Mats = 8,                  // matrices of the whole model
    parameter int unsigned ScaleWords = 2,
    parameter logic [Mats*3-1:0] Width = '0,          // [matrix in order] index of 2 3 4 6 8 bits
    parameter logic [5*32-1:0] Depth = '0,
    parameter Image2 = "rom/codes2.hex",
    parameter Image3 = "rom/codes3.hex",
    parameter Image4 = "rom/codes4.hex",
    parameter Image6 = "rom/codes6.hex",
    parameter Image8 = "rom/codes8.hex",
    parameter ImageLevels = "rom/levels.hex",
    parameter ImageScales = "rom/group_scales.hex",
    localparam int unsigned BlockWords = Lanes / Vec,
    localparam int unsigned HoldWidth = BlockWords > 1 ? $clog2(BlockWords) : 1
) (
    input  logic                  clk_i,
    input  logic                  begin_i,
    input  logic                  issue_i,
    input  logic                  first_i,
    input  logic                  group_first_i,
    input  logic                  group_end_i,
    input  logic                  mat_end_i,
    input  logic [    Taps*8-1:0] a_i,              // one cycle behind issue_i
    input  logic                  load_hold_i,
    input  logic                  drain_i,
    input  logic [ HoldWidth-1:0] index_i,
    output logic [    Vec*32-1:0] acc_o
);
  localparam int unsigned Codes = 1 << CodeBits;
  localparam int unsigned Groups = Taps > 64 ? Taps / 64 : 1;
  localparam int unsigned MatWidth = Mats > 1 ? $clog2(Mats) : 1;

  // Which matrix this is, in the order of a token.
  logic [MatWidth-1:0] mat_q;
  always_ff @(posedge clk_i) begin
    if (begin_i) mat_q <= '0;
    else if (issue_i && mat_end_i) mat_q <= mat_q + 1'b1;
  end

  logic [Lanes*Taps*CodeBits-1:0] codes;
  logic [Codes*8-1:0] levels;
  logic [Taps*Codes*16-1:0] lines;
  logic [Lanes*Groups*6-1:0] scales;
  logic [3:1] valid_q;
  logic [4:1] first_q, end_q;
  logic [3:1] group_first_q;

  always_ff @(posedge clk_i) begin
    valid_q <= {valid_q[2:1], issue_i};
    first_q <= {first_q[3:1], first_i};
    end_q <= {end_q[3:1], issue_i && group_end_i};
    group_first_q <= {group_first_q[2:1], group_first_i};
  end

  burin_weights #(
      .Lanes(Lanes),
      .Taps(Taps),
      .CodeBits(CodeBits),
      .Depth(Depth),
      .Image2(Image2),
      .Image3(Image3),
      .Image4(Image4),
      .Image6(Image6),
      .Image8(Image8)
  ) u_weights (
      .clk_i,
      .begin_i,
      .issue_i,
      .width_i(Width[mat_q*3+:3]),
      .codes_o(codes)
  );

  burin_rom #(
      .Width(Codes * 8),
      .Depth(Mats),
      .ImageFile(ImageLevels)
  ) u_levels (
      .clk_i,
      .en_i(issue_i),
      .addr_i(mat_q),
      .data_o(levels)
  );

  burin_stream_rom #(
      .Width(Lanes * Groups * 6),
      .Depth(ScaleWords),
      .ImageFile(ImageScales)
  ) u_scales (
      .clk_i,
      .begin_i,
      .read_i(end_q[2]),
      .word_o(scales)
  );

  burin_products #(
      .Taps(Taps),
      .Codes(Codes)
  ) u_products (
      .clk_i,
      .en_i(valid_q[1]),
      .a_i,
      .levels_i(levels),
      .lines_o(lines)
  );

  for (genvar v = 0; v < Vec; v++) begin : gen_column
    logic [31:0] hold_q[0:BlockWords-1];

    for (genvar b = 0; b < BlockWords; b++) begin : gen_lane
      localparam int unsigned Lane = b * Vec + v;
      logic [31:0] acc;
      burin_lane #(
          .Taps(Taps),
          .CodeBits(CodeBits)
      ) u_lane (
          .clk_i,
          .lines_i(lines),
          .codes_i(codes[Lane*Taps*CodeBits+:Taps*CodeBits]),
          .part_i(valid_q[3]),
          .group_first_i(group_first_q[3]),
          .scales_i(scales[Lane*Groups*6+:Groups*6]),
          .sum_i(end_q[4]),
          .first_i(first_q[4]),
          .acc_o(acc)
      );
      always_ff @(posedge clk_i) begin
        if (load_hold_i) hold_q[b] <= acc;
      end
    end

    always_ff @(posedge clk_i) begin
      if (drain_i) acc_o[v*32+:32] <= hold_q[index_i];
    end
  end
endmodule
