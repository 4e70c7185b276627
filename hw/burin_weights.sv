// The mask ROMs that hold the weights' codes: one for each width that the model uses (Depth 0: none).  A word holds the codes of
// all lanes for Taps columns.  Words lie in the order in which a token meets them, so that each ROM's address is a counter.
//
// Timing: begin_i starts a token; issue_i with the matrix' width_i in cycle c, codes_o (zero-extended) from c + 2 on.
module burin_weights #(
    parameter int unsigned Lanes = 16,
    parameter int unsigned Taps = 8,
    parameter int unsigned CodeBits = 4,        // the widest in use
    parameter logic [5*32-1:0] Depth = '0,      // [2 3 4 6 8 bits] words
    parameter Image2 = "rom/codes2.hex",
    parameter Image3 = "rom/codes3.hex",
    parameter Image4 = "rom/codes4.hex",
    parameter Image6 = "rom/codes6.hex",
    parameter Image8 = "rom/codes8.hex"
) (
    input  logic                           clk_i,
    input  logic                           begin_i,
    input  logic                           issue_i,
    input  logic [                    2:0] width_i,  // index of 2 3 4 6 8
    output logic [Lanes*Taps*CodeBits-1:0] codes_o
);
  localparam int unsigned Count = Lanes * Taps;

  logic [2:0] width_q;
  logic valid_q;
  logic [Count*2-1:0] word2;
  logic [Count*3-1:0] word3;
  logic [Count*4-1:0] word4;
  logic [Count*6-1:0] word6;
  logic [Count*8-1:0] word8;

  if (Depth[0*32+:32] > 0) begin : gen_rom2
    burin_stream_rom #(
        .Width(Count * 2),
        .Depth(Depth[0*32+:32]),
        .ImageFile(Image2)
    ) u_rom (
        .clk_i,
        .begin_i,
        .read_i(issue_i && width_i == 3'd0),
        .word_o(word2)
    );
  end else begin : gen_rom2
    assign word2 = (Count * 2)'(1'b0);
  end

  if (Depth[1*32+:32] > 0) begin : gen_rom3
    burin_stream_rom #(
        .Width(Count * 3),
        .Depth(Depth[1*32+:32]),
        .ImageFile(Image3)
    ) u_rom (
        .clk_i,
        .begin_i,
        .read_i(issue_i && width_i == 3'd1),
        .word_o(word3)
    );
  end else begin : gen_rom3
    assign word3 = (Count * 3)'(1'b0);
  end

  if (Depth[2*32+:32] > 0) begin : gen_rom4
    burin_stream_rom #(
        .Width(Count * 4),
        .Depth(Depth[2*32+:32]),
        .ImageFile(Image4)
    ) u_rom (
        .clk_i,
        .begin_i,
        .read_i(issue_i && width_i == 3'd2),
        .word_o(word4)
    );
  end else begin : gen_rom4
    assign word4 = (Count * 4)'(1'b0);
  end

  if (Depth[3*32+:32] > 0) begin : gen_rom6
    burin_stream_rom #(
        .Width(Count * 6),
        .Depth(Depth[3*32+:32]),
        .ImageFile(Image6)
    ) u_rom (
        .clk_i,
        .begin_i,
        .read_i(issue_i && width_i == 3'd3),
        .word_o(word6)
    );
  end else begin : gen_rom6
    assign word6 = (Count * 6)'(1'b0);
  end

  if (Depth[4*32+:32] > 0) begin : gen_rom8
    burin_stream_rom #(
        .Width(Count * 8),
        .Depth(Depth[4*32+:32]),
        .ImageFile(Image8)
    ) u_rom (
        .clk_i,
        .begin_i,
        .read_i(issue_i && width_i == 3'd4),
        .word_o(word8)
    );
  end else begin : gen_rom8
    assign word8 = (Count * 8)'(1'b0);
  end

  always_ff @(posedge clk_i) begin
    width_q <= width_i;
    valid_q <= issue_i;
  end

  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    for (genvar t = 0; t < Taps; t++) begin : gen_code
      localparam int unsigned I = l * Taps + t;
      always_ff @(posedge clk_i) begin
        if (valid_q) begin
          case (width_q)
            3'd0: codes_o[I*CodeBits+:CodeBits] <= CodeBits'(word2[I*2+:2]);
            3'd1: codes_o[I*CodeBits+:CodeBits] <= CodeBits'(word3[I*3+:3]);
            3'd2: codes_o[I*CodeBits+:CodeBits] <= CodeBits'(word4[I*4+:4]);
            3'd3: codes_o[I*CodeBits+:CodeBits] <= CodeBits'(word6[I*6+:6]);
            default: codes_o[I*CodeBits+:CodeBits] <= CodeBits'(word8[I*8+:8]);
          endcase
        end
      end
    end
  end
endmodule
