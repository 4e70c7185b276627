// Rotary position encoding.  The rows of q and k are laid so that the two elements of a pair are neighbours, with the rotated
// pairs of a head first.
//
// begin_i makes the angles of position_i: c = rsr(cA cB - sA sB, 15), s = rsr(sA cB + cA sB, 15) from the tables A[position >> 6]
// and B[position & 63], a word of pairs a cycle; they stand 4 + Parts cycles later, which is before the first results come.
// Timing: a word in cycle c leaves in c + 2; rotate_i says whether it is rotated.
module burin_rotary #(
    parameter int unsigned Vec = 16,
    parameter int unsigned IndexWidth = 16,
    parameter int unsigned HeadDim = 16,
    parameter int unsigned RotaryDims = 16,
    parameter int unsigned PositionWidth = 9,
    parameter int unsigned HighDepth = 8,
    parameter ImageHigh = "rom/rotary_high.hex",
    parameter ImageLow = "rom/rotary_low.hex"
) (
    input  logic                     clk_i,
    input  logic                     rst_i,
    input  logic                     begin_i,
    input  logic [PositionWidth-1:0] position_i,
    input  logic                     valid_i,
    input  logic                     rotate_i,
    input  logic [   IndexWidth-1:0] word_i,
    input  logic [       Vec*32-1:0] y_i,
    output logic                     valid_o,
    output logic [       Vec*32-1:0] y_o
);
  localparam int unsigned Chunk = Vec < HeadDim ? Vec : HeadDim;
  localparam int unsigned Parts = HeadDim / Chunk;  // words of a head
  localparam int unsigned Pairs = Chunk / 2;
  localparam int unsigned PartWidth = Parts > 1 ? $clog2(Parts) : 1;
  localparam int unsigned HighAddrWidth = HighDepth * Parts > 1 ? $clog2(HighDepth * Parts) : 1;
  localparam int unsigned LowAddrWidth = $clog2(64 * Parts);

  // Angles.
  logic run_q, read, last;
  logic [PartWidth-1:0] part_q, part, part1_q, part2_q;
  logic [2:1] made_q;
  logic [Pairs*32-1:0] high, low;
  logic [Pairs*32-1:0] angles;
  logic [Pairs*32-1:0] angle_mem[0:Parts-1];

  assign read = begin_i || run_q;
  assign part = run_q ? part_q : '0;
  assign last = 32'(part) == Parts - 1;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      run_q <= 1'b0;
      made_q <= '0;
    end else begin
      if (read) run_q <= !last;
      made_q <= {made_q[1], read};
    end
    if (read) part_q <= part + 1'b1;
    part1_q <= part;
    part2_q <= part1_q;
    if (made_q[2]) angle_mem[part2_q] <= angles;
  end

  burin_rom #(
      .Width(Pairs * 32),
      .Depth(HighDepth * Parts),
      .ImageFile(ImageHigh)
  ) u_high (
      .clk_i,
      .en_i(read),
      .addr_i(HighAddrWidth'((32'(position_i) >> 6) * Parts + 32'(part))),
      .data_o(high)
  );

  burin_rom #(
      .Width(Pairs * 32),
      .Depth(64 * Parts),
      .ImageFile(ImageLow)
  ) u_low (
      .clk_i,
      .en_i(read),
      .addr_i(LowAddrWidth'((32'(position_i) % 64) * Parts + 32'(part))),
      .data_o(low)
  );

  function automatic logic signed [15:0] clamp_q15(input logic signed [33:0] x);
    logic signed [33:0] y;
    y = (x + 34'sd16384) >>> 15;
    if (y > 34'sd32767) clamp_q15 = 16'sd32767;
    else if (y < -34'sd32767) clamp_q15 = -16'sd32767;
    else clamp_q15 = 16'(y);
  endfunction

  for (genvar i = 0; i < Pairs; i++) begin : gen_angle
    logic signed [15:0] ca, sa, cb, sb;
    logic signed [33:0] cc_q, ss_q, sc_q, cs_q;
    assign {sa, ca} = high[i*32+:32];
    assign {sb, cb} = low[i*32+:32];
    always_ff @(posedge clk_i) begin
      if (made_q[1]) begin
        cc_q <= 34'(ca) * 34'(cb);
        ss_q <= 34'(sa) * 34'(sb);
        sc_q <= 34'(sa) * 34'(cb);
        cs_q <= 34'(ca) * 34'(sb);
      end
    end
    assign angles[i*32+:32] = {clamp_q15(sc_q + cs_q), clamp_q15(cc_q - ss_q)};
  end

  // Rotation.
  logic [2:1] valid_q;
  logic rotate_q;
  logic [PartWidth-1:0] at, at_q;
  logic [Pairs*32-1:0] angle;

  assign at = PartWidth'(32'(word_i) % Parts);
  assign angle = angle_mem[at];

  always_ff @(posedge clk_i) begin
    if (rst_i) valid_q <= '0;
    else valid_q <= {valid_q[1], valid_i};
    rotate_q <= rotate_i;
    at_q <= at;
  end

  for (genvar i = 0; i < Vec / 2; i++) begin : gen_pair
    localparam int unsigned Pair = i % Pairs;
    logic signed [31:0] x, y, x_q, y_q;
    logic signed [15:0] c, s;
    logic signed [47:0] xc_q, ys_q, xs_q, yc_q;
    logic turn;

    assign x = y_i[2*i*32+:32];
    assign y = y_i[(2*i+1)*32+:32];
    assign {s, c} = angle[Pair*32+:32];
    assign turn = rotate_q && 32'(at_q) * Pairs + Pair < RotaryDims / 2;

    always_ff @(posedge clk_i) begin
      if (valid_i) begin
        xc_q <= 48'(x) * 48'(c);
        ys_q <= 48'(y) * 48'(s);
        xs_q <= 48'(x) * 48'(s);
        yc_q <= 48'(y) * 48'(c);
        x_q <= x;
        y_q <= y;
      end
      if (valid_q[1]) begin
        y_o[2*i*32+:32] <= turn ? burin_pkg::sat32(burin_pkg::rsr(64'(xc_q) - 64'(ys_q), 6'd15)) : x_q;
        y_o[(2*i+1)*32+:32] <= turn ? burin_pkg::sat32(burin_pkg::rsr(64'(xs_q) + 64'(yc_q), 6'd15)) : y_q;
      end
    end
  end

  assign valid_o = valid_q[2];
endmodule
