// Three words of four elements are set, added to and read; out: the sums and their largest magnitude.
module residual_tb;
  localparam int Vec = 4, Words = 3, WordBits = Vec * 32;
  localparam int InWidth = 2 * Words * WordBits, OutWidth = Words * WordBits + 32, Latency = 14, Gap = 15;
  localparam string Name = "residual";
  `include "driver.svh"
  logic [12:0] at = '0;
  logic set, add, soon, read, done;
  logic was_reading_q;
  logic [1:0] word, index, index_q;
  logic [WordBits-1:0] data;
  logic [Words*WordBits-1:0] all = '0;
  logic [31:0] max;
  always @(posedge clk) at <= {at[11:0], valid};
  assign set = valid || |at[1:0];   // cycles 0..2
  assign soon = |at[5:3];           // 4..6
  assign add = |at[6:4];            // 5..7
  assign read = |at[10:8];          // 9..11
  always_comb begin
    word = 2'd0;
    index = 2'd0;
    for (int i = 1; i < Words; i++) begin
      if (at[i-1] || at[i+4]) word = 2'(i);
      if (at[i+3] || at[i+8]) index = 2'(i);
    end
  end
  burin_residual #(.Vec(Vec), .IndexWidth(2), .DimWords(Words)) u_dut (
      .clk_i(clk), .rst_i(rst), .set_i(set), .add_i(add), .word_i(word), .end_i(word == 2'd2), .y_i(in[(set?0:Words*WordBits)+word*WordBits+:WordBits]),
      .soon_i(soon), .soon_word_i(index), .read_i(read), .index_i(index), .data_o(data), .max_o(max), .done_o(done));
  always @(posedge clk) begin
    was_reading_q <= read;
    index_q <= index;
    if (was_reading_q) all[index_q*WordBits+:WordBits] <= data;
    if (done != (at[3] || at[8])) $fatal(1, "done_o came in another cycle");
  end
  assign out = {max, all};
endmodule
