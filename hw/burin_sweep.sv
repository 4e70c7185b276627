// Walks the weights of a stage: one word of every bank a cycle, block of rows after block, matrix after matrix; and drains each
// block's accumulators, Vec rows a cycle, while the next block is swept.
//
// go_i starts stage_i; the first word is issued in cycle Start[stage] behind it, when enough of the input stands in the
// activation registers that no word meets one that is not there yet.  A finished block moves from the accumulators to the hold
// registers; its last word waits until these are free then.  Draining waits for ready_i, the scale of the input.
// Timing: a word issued in cycle c is in the accumulators from c + 5 on, a block whose last word that was in the hold registers
// from c + 6 on: load_hold_o is high in c + 5.
module burin_sweep #(
    parameter int unsigned IndexWidth = 16,
    parameter int unsigned Taps = 8,
    parameter int unsigned BlockWords = 4,      // words of Vec rows in a block: Lanes / Vec
    parameter logic [8*32-1:0] Words = '0,      // [matrix] words of Taps columns
    parameter logic [8*32-1:0] RowWords = '0,   // [matrix] words of Vec rows
    parameter logic [5*32-1:0] Start = '0,      // [stage]
    localparam int unsigned HoldWidth = BlockWords > 1 ? $clog2(BlockWords) : 1
) (
    input  logic                  clk_i,
    input  logic                  rst_i,
    input  logic                  go_i,
    input  logic [           2:0] stage_i,
    input  logic                  ready_i,
    // words
    output logic                  issue_o,
    output logic [IndexWidth-1:0] word_o,         // of the activation registers
    output logic                  first_o,        // of a block
    output logic                  group_first_o,
    output logic                  group_end_o,
    output logic                  mat_end_o,      // the matrix' last word
    // drain
    output logic                  load_hold_o,
    output logic                  drain_o,
    output logic [ HoldWidth-1:0] drain_index_o,  // within the hold registers
    output logic [IndexWidth-1:0] drain_word_o,   // within the matrix' rows
    output logic [           2:0] drain_mat_o,
    output logic                  drain_mat_end_o,
    output logic                  drain_end_o     // the stage's last
);
  localparam int unsigned GroupWords = Taps < 64 ? 64 / Taps : 1;

  function automatic logic [2:0] first_of(input logic [2:0] stage);
    case (stage)
      burin_pkg::StageQkv: first_of = burin_pkg::MatQ;
      burin_pkg::StageO: first_of = burin_pkg::MatO;
      burin_pkg::StageGateUp: first_of = burin_pkg::MatGate;
      burin_pkg::StageDown: first_of = burin_pkg::MatDown;
      default: first_of = burin_pkg::MatHead;
    endcase
  endfunction

  function automatic logic is_last(input logic [2:0] mat);
    is_last = mat != burin_pkg::MatQ && mat != burin_pkg::MatK && mat != burin_pkg::MatGate;
  endfunction

  // Sweep.
  logic run_q;
  logic [IndexWidth-1:0] wait_q, word_q, row_q;
  logic [2:0] mat_q;
  logic [$clog2(GroupWords+1)-1:0] group_q;
  logic [IndexWidth-1:0] words, rows_left, block_rows;
  logic word_last, block_last, may_finish;

  assign words = Words[mat_q*32+:IndexWidth];
  assign rows_left = RowWords[mat_q*32+:IndexWidth] - row_q;
  assign block_last = rows_left <= IndexWidth'(BlockWords);
  assign block_rows = block_last ? rows_left : IndexWidth'(BlockWords);
  assign word_last = word_q == words - IndexWidth'(1);

  assign issue_o = run_q && wait_q == '0 && (!word_last || may_finish);
  assign word_o = word_q;
  assign first_o = word_q < IndexWidth'(GroupWords);
  assign group_first_o = group_q == '0;
  assign group_end_o = word_last || 32'(group_q) == GroupWords - 1;
  assign mat_end_o = word_last && block_last;

  always_ff @(posedge clk_i) begin
    if (rst_i) run_q <= 1'b0;
    else if (go_i) run_q <= 1'b1;
    else if (issue_o && mat_end_o && is_last(mat_q)) run_q <= 1'b0;
    if (go_i) begin
      wait_q <= Start[stage_i*32+:IndexWidth] - IndexWidth'(1);
      mat_q <= first_of(stage_i);
      word_q <= '0;
      row_q <= '0;
      group_q <= '0;
    end else begin
      if (wait_q != '0) wait_q <= wait_q - IndexWidth'(1);
      if (issue_o) begin
        word_q <= word_last ? '0 : word_q + IndexWidth'(1);
        group_q <= group_end_o ? '0 : group_q + 1'b1;
        if (word_last) row_q <= block_last ? '0 : row_q + IndexWidth'(BlockWords);
        if (mat_end_o) mat_q <= mat_q + 3'd1;
      end
    end
  end

  // The block between its last word and the hold registers.
  logic [5:1] flight_q;
  logic [IndexWidth-1:0] flight_rows_q, flight_row_q;
  logic [2:0] flight_mat_q;
  logic flight_mat_end_q;

  always_ff @(posedge clk_i) begin
    if (rst_i) flight_q <= '0;
    else flight_q <= {flight_q[4:1], issue_o && word_last};
    if (issue_o && word_last) begin
      flight_rows_q <= block_rows;
      flight_row_q <= row_q;
      flight_mat_q <= mat_q;
      flight_mat_end_q <= block_last;
    end
  end

  // Drain.
  logic full_q;
  logic [IndexWidth-1:0] index_q, hold_rows_q, hold_row_q, left;
  logic [2:0] hold_mat_q;
  logic hold_mat_end_q, drain_last;

  assign left = hold_rows_q - index_q;
  assign drain_last = left == IndexWidth'(1);
  assign may_finish = flight_q == '0 && (!full_q || (ready_i && left <= IndexWidth'(6)));

  assign load_hold_o = flight_q[5];
  assign drain_o = full_q && ready_i;
  assign drain_index_o = HoldWidth'(index_q);
  assign drain_word_o = hold_row_q + index_q;
  assign drain_mat_o = hold_mat_q;
  assign drain_mat_end_o = drain_last && hold_mat_end_q;
  assign drain_end_o = drain_mat_end_o && is_last(hold_mat_q);

  always_ff @(posedge clk_i) begin
    if (rst_i) full_q <= 1'b0;
    else if (load_hold_o) full_q <= 1'b1;
    else if (drain_o && drain_last) full_q <= 1'b0;
    if (load_hold_o) begin
      index_q <= '0;
      hold_rows_q <= flight_rows_q;
      hold_row_q <= flight_row_q;
      hold_mat_q <= flight_mat_q;
      hold_mat_end_q <= flight_mat_end_q;
    end else if (drain_o) begin
      index_q <= index_q + IndexWidth'(1);
    end
  end
endmodule
