// Makes the 8-bit input of a stage: reads a vector, Vec elements a cycle, and writes it to the activation registers.
// On the way it sums the squares that the norm needs.
//
// go_i comes with the largest magnitude in max_i, how many words to read in words_i, and how many to write in padded_i: zeros
// behind the vector, up to a whole step of the sweep.
// Timing, go_i in cycle c: word i is read in c + i (data_i one cycle later) and written in c + 3 + i; the step stands from c + 1,
// the sum from c + words + 4, when sum_valid_o is high.
module burin_quantise #(
    parameter int unsigned Vec = 16,
    parameter int unsigned IndexWidth = 4
) (
    input  logic                  clk_i,
    input  logic                  rst_i,
    input  logic                  go_i,
    input  logic [IndexWidth-1:0] words_i,
    input  logic [IndexWidth-1:0] padded_i,
    input  logic [          31:0] max_i,
    output logic                  read_o,
    output logic [IndexWidth-1:0] index_o,
    input  logic [    Vec*32-1:0] data_i,
    output logic                  write_o,
    output logic [IndexWidth-1:0] write_index_o,
    output logic [     Vec*8-1:0] a_o,
    output logic [           8:0] step_u_o,
    output logic signed [    6:0] step_e_o,
    output logic [          47:0] sum_o,
    output logic                  sum_valid_o
);
  logic run_q;
  logic [IndexWidth-1:0] index_q, index;
  logic last, pad;
  logic [14:0] reciprocal;

  burin_step u_step (
      .clk_i,
      .max_i,
      .u_o(step_u_o),
      .e_o(step_e_o),
      .reciprocal_o(reciprocal)
  );

  assign index = run_q ? index_q : '0;
  assign last = index == padded_i - IndexWidth'(1);
  assign pad = index >= words_i;
  assign read_o = go_i || run_q;
  assign index_o = index;

  always_ff @(posedge clk_i) begin
    if (rst_i) run_q <= 1'b0;
    else if (read_o) run_q <= !last;
    if (read_o) index_q <= index + IndexWidth'(1);
  end

  // Stages: data at the input (1), 15 bits (2), 8 bits and squares (3), their sum (4), the sum of all words (5).
  logic [3:1] valid_q;
  logic [4:1] first_q;
  logic [5:1] last_q;
  logic [3:1] pad_q;
  logic square_valid_q;
  logic [IndexWidth-1:0] index1_q, index2_q, index3_q;
  logic [47:0] part, part_q, sum_q;
  logic [31:0] square_q[0:Vec-1];

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      valid_q <= '0;
      last_q <= '0;
    end else begin
      valid_q <= {valid_q[2:1], read_o};
      last_q <= {last_q[4:1], read_o && index == words_i - IndexWidth'(1)};
    end
    first_q <= {first_q[3:1], index == '0};
    pad_q <= {pad_q[2:1], pad};
    square_valid_q <= valid_q[3] && !pad_q[3];
    index1_q <= index;
    index2_q <= index1_q;
    index3_q <= index2_q;
  end

  for (genvar i = 0; i < Vec; i++) begin : gen_lane
    logic signed [31:0] x;
    logic signed [16:0] t_q, s_q;
    assign x = data_i[i*32+:32];
    always_ff @(posedge clk_i) begin
      if (valid_q[1]) begin
        t_q <= burin_pkg::to_15_bits(x, step_e_o);
        s_q <= step_e_o > 7'sd0 ? burin_pkg::to_15_bits(x, step_e_o) : x[16:0];
      end
      if (valid_q[2]) begin
        a_o[i*8+:8] <= pad_q[2] ? 8'sd0 : burin_pkg::to_8_bits(t_q, reciprocal);
        square_q[i] <= 32'(s_q) * 32'(s_q);
      end
    end
  end

  always_comb begin
    part = '0;
    for (int i = 0; i < Vec; i++) part = part + 48'(square_q[i]);
  end

  always_ff @(posedge clk_i) begin
    if (valid_q[3]) part_q <= part;
    if (square_valid_q) sum_q <= (first_q[4] ? 48'd0 : sum_q) + part_q;
  end

  assign write_o = valid_q[3];
  assign write_index_o = index3_q;
  assign sum_o = sum_q;
  assign sum_valid_o = last_q[5];
endmodule
