// The residual stream: Dim elements of 32 bits with 12 fraction bits, kept in a memory, Vec at a time.
//
// set_i writes a word, add_i adds to one (clamped); soon_i announces an add one cycle ahead, so that the word is read in time.
// Timing: a word that arrives in cycle c can be read from c + 1 on; max_o, the largest magnitude since word 0, holds it from c + 3
// on.  done_o is high in c + 2 for the last word.  read_i with index_i in cycle c, data_o from c + 1 on.
module burin_residual #(
    parameter int unsigned Vec = 16,
    parameter int unsigned IndexWidth = 16,
    parameter int unsigned DimWords = 4
) (
    input  logic                  clk_i,
    input  logic                  rst_i,
    input  logic                  set_i,
    input  logic                  add_i,
    input  logic [IndexWidth-1:0] word_i,
    input  logic                  end_i,
    input  logic [    Vec*32-1:0] y_i,
    input  logic                  soon_i,
    input  logic [IndexWidth-1:0] soon_word_i,
    input  logic                  read_i,
    input  logic [IndexWidth-1:0] index_i,
    output logic [    Vec*32-1:0] data_o,
    output logic [          31:0] max_o,
    output logic                  done_o
);
  localparam int unsigned AddrWidth = DimWords > 1 ? $clog2(DimWords) : 1;

  logic [Vec*32-1:0] h;
  logic write;

  assign write = set_i || add_i;

  always_comb begin
    h = '0;
    for (int i = 0; i < Vec; i++) begin
      h[i*32+:32] = burin_pkg::sat32(64'($signed(y_i[i*32+:32])) + (set_i ? 64'sd0 : 64'($signed(data_o[i*32+:32]))));
    end
  end

  burin_ram #(
      .Width(Vec * 32),
      .Depth(DimWords)
  ) u_ram (
      .clk_i,
      .write_i(write),
      .write_addr_i(AddrWidth'(32'(word_i))),
      .data_i(h),
      .read_i(soon_i || read_i),
      .read_addr_i(soon_i ? AddrWidth'(32'(soon_word_i)) : AddrWidth'(32'(index_i))),
      .data_o
  );

  burin_max #(
      .Vec(Vec)
  ) u_max (
      .clk_i,
      .rst_i,
      .valid_i(write),
      .first_i(word_i == '0),
      .end_i,
      .x_i(h),
      .max_o,
      .done_o
  );
endmodule
