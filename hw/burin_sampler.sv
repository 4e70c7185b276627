// From logits to a token: the largest (lowest index first), or a draw at a temperature with min-p (doc/arithmetic.md, sampler).
//
// Logits come Vec at a time and are kept.  For a draw they are read twice: for the total of the probabilities and for the word in
// which the running sum passes the drawn number; then the word's elements are walked one by one.
// Timing, with Words = ceil(Vocab / Vec): the last word in cycle c; done_o is high in c + 1 where inv_temperature_i is 0, else in
// c + 34 + 2 Words + Vec.  token_o stands from the cycle behind done_o on.  A seed needs six cycles before a draw begins.
module burin_sampler #(
    parameter int unsigned Vec = 16,
    parameter int unsigned IndexWidth = 16,
    parameter int unsigned Vocab = 512,
    localparam int unsigned TokenWidth = $clog2(Vocab)
) (
    input  logic                  clk_i,
    input  logic                  rst_i,
    input  logic                  seed_i,             // takes seed_value_i
    input  logic [          63:0] seed_value_i,
    input  logic [          22:0] inv_temperature_i,  // round(2^12 / T); 0: greedy
    input  logic [          16:0] min_p_i,            // Q16
    input  logic                  valid_i,
    input  logic [IndexWidth-1:0] word_i,
    input  logic                  end_i,
    input  logic [    Vec*32-1:0] z_i,
    output logic                  done_o,
    output logic [TokenWidth-1:0] token_o
);
  localparam int unsigned Words = (Vocab + Vec - 1) / Vec;
  localparam int unsigned WordWidth = Words > 1 ? $clog2(Words) : 1;
  localparam int unsigned LaneWidth = Vec > 1 ? $clog2(Vec) : 1;

  // The largest logit.
  logic [Vec*32-1:0] z;
  logic valid_q, first_q, end_q;
  logic signed [31:0] node[1:2*Vec-1];  // of a tree: the larger of nodes 2 i and 2 i + 1, the left one where they are equal
  logic [LaneWidth-1:0] lane[1:2*Vec-1];
  logic signed [31:0] word_best_q, best_q;
  logic [LaneWidth-1:0] word_lane_q;
  logic [WordWidth-1:0] word, word_q;
  logic [TokenWidth-1:0] best_token_q;

  assign word = WordWidth'(32'(word_i));

  always_comb begin
    for (int i = 0; i < Vec; i++) begin
      node[Vec+i] = 32'(word_i) * Vec + i < Vocab ? z_i[i*32+:32] : 32'sh8000_0000;
      lane[Vec+i] = LaneWidth'(i);
    end
    for (int i = Vec - 1; i > 0; i--) begin
      node[i] = node[2*i+1] > node[2*i] ? node[2*i+1] : node[2*i];
      lane[i] = node[2*i+1] > node[2*i] ? lane[2*i+1] : lane[2*i];
    end
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      valid_q <= 1'b0;
      end_q <= 1'b0;
    end else begin
      valid_q <= valid_i;
      end_q <= valid_i && end_i;
    end
    first_q <= word_i == '0;
    if (valid_i) begin
      word_best_q <= node[1];
      word_lane_q <= lane[1];
      word_q <= word;
    end
    if (valid_q && (first_q || word_best_q > best_q)) begin
      best_q <= word_best_q;
      best_token_q <= TokenWidth'(32'(word_q) * Vec + 32'(word_lane_q));
    end
  end

  // The walk of a draw.
  localparam logic [2:0] Idle = 3'd0;
  localparam logic [2:0] Total = 3'd1;
  localparam logic [2:0] Draw = 3'd2;
  localparam logic [2:0] Find = 3'd3;
  localparam logic [2:0] Fetch = 3'd4;
  localparam logic [2:0] Pick = 3'd5;

  logic [2:0] state_q;
  logic [31:0] count_q;
  logic read, last;
  logic [WordWidth-1:0] address;

  assign read = (state_q == Total || state_q == Find) && count_q < Words || state_q == Fetch && count_q == 32'd0;
  assign last = count_q == (state_q == Total || state_q == Find ? Words + 9 : state_q == Draw ? 32'd4 : state_q == Fetch ? 32'd7 : Vec - 1);

  always_ff @(posedge clk_i) begin
    if (rst_i) state_q <= Idle;
    else if (state_q == Idle) state_q <= end_q && inv_temperature_i != '0 ? Total : Idle;
    else if (last) state_q <= state_q == Pick ? Idle : state_q + 3'd1;
    count_q <= state_q == Idle || last ? '0 : count_q + 32'd1;
  end

  burin_ram #(
      .Width(Vec * 32),
      .Depth(Words)
  ) u_ram (
      .clk_i,
      .write_i(valid_i),
      .write_addr_i(word),
      .data_i(z_i),
      .read_i(read),
      .read_addr_i(address),
      .data_o(z)
  );

  // Probabilities: read (0), distance (1), its products with halves of the coefficient (2), octaves (3), table (4), between its
  // entries (5), shifted (6), min-p (7), sum of a word (8), of all (9).
  logic [9:1] read_q;
  logic [38:0] coefficient_q;
  logic [46:0] floor_q;
  logic [Vec*30-1:0] p;
  logic [WordWidth-1:0] address1_q, address2_q, address3_q, address4_q, address5_q, address6_q, address7_q, address8_q, address9_q;

  always_ff @(posedge clk_i) begin
    if (rst_i) read_q <= '0;
    else read_q <= {read_q[8:1], read};
    coefficient_q <= 39'(inv_temperature_i) * 39'd94548;
    floor_q <= 47'(min_p_i) * 47'd1073741823;
    {address9_q, address8_q, address7_q, address6_q, address5_q, address4_q, address3_q, address2_q, address1_q} <=
        {address8_q, address7_q, address6_q, address5_q, address4_q, address3_q, address2_q, address1_q, address};
  end

  for (genvar i = 0; i < Vec; i++) begin : gen_lane
    logic [32:0] distance;
    logic [23:0] distance_q;
    logic [43:0] scaled0_q;
    logic [42:0] scaled1_q;
    logic [62:0] scaled_q;
    logic [34:0] octaves;
    logic [29:0] low, high, entry_q, fall_q, y_q, p1_q;
    logic [9:0] fraction_q;
    logic [4:0] octave1_q, octave_q;
    logic zero1_q, zero_q;
    logic keep;

    assign distance = 33'(best_q) - 33'($signed(z[i*32+:32]));
    assign octaves = 35'(scaled_q >> 28);
    assign low = burin_tables_pkg::exp2_fine({1'b0, octaves[15:10]});
    assign high = burin_tables_pkg::exp2_fine({1'b0, octaves[15:10]} + 7'd1);
    assign keep = 32'(address1_q) * Vec + i < Vocab;

    logic [3:1] keep_q;
    always_ff @(posedge clk_i) begin
      keep_q <= {keep_q[2:1], keep};
      if (read_q[1]) distance_q <= distance > 33'hff_ffff ? 24'hff_ffff : 24'(distance & 33'hff_ffff);
      if (read_q[2]) begin
        scaled0_q <= 44'(distance_q) * 44'(coefficient_q[19:0]);
        scaled1_q <= 43'(distance_q) * 43'(coefficient_q[38:20]);
      end
      if (read_q[3]) scaled_q <= 63'(scaled0_q) + {scaled1_q, 20'd0};
      if (read_q[4]) begin
        entry_q <= low;
        fall_q <= low - high;
        fraction_q <= octaves[9:0];
        octave1_q <= octaves[20:16];
        zero1_q <= octaves[34:16] > 19'd30 || !keep_q[3];
      end
      if (read_q[5]) begin
        y_q <= entry_q - 30'((40'(fall_q) * 40'(fraction_q)) >> 10);
        octave_q <= octave1_q;
        zero_q <= zero1_q;
      end
      if (read_q[6]) p1_q <= zero_q ? 30'd0 : 30'(burin_pkg::rsr(64'(y_q), 6'(octave_q)));
      if (read_q[7]) p[i*30+:30] <= {1'b0, p1_q, 16'd0} < floor_q ? 30'd0 : p1_q;
    end
  end

  logic [47:0] word_sum, word_sum_q, sum_q, rest_q;
  logic [48:0] word_rest, lane_rest;  // below zero: the number lies within
  logic [63:0] random_q;
  logic [WordWidth-1:0] found_q;
  logic seen_q;
  logic [29:0] lane_p;

  always_comb begin
    word_sum = '0;
    for (int i = 0; i < Vec; i++) word_sum = word_sum + 48'(p[i*30+:30]);
  end

  assign address = state_q == Fetch ? found_q : WordWidth'(count_q);
  assign lane_p = p[LaneWidth'(count_q)*30+:30];
  assign word_rest = 49'(rest_q) - 49'(word_sum_q);
  assign lane_rest = 49'(rest_q) - 49'(lane_p);

  // One multiplier of 64 by 64 bits, modulo 2^112 and in five cycles, serves the generator's steps (plus 1) and the drawn number.
  // Parts are 16 by 32 bits, sums are made by columns of 32.
  logic [63:0] pcg_q, factor_q, other_q;
  logic [4*48-1:0] low_q;  // by 16 bits of the factor, with the lower half of the other
  logic [3*48-1:0] high_q;  // and with the upper half
  logic [31:0] top_q;
  logic [64:0] low0_q, low1_q, high0_q;
  logic [47:0] high1_q;
  logic [32:0] column0_q;
  logic [34:0] column1_q, column2_q;
  logic [15:0] column3_q;
  logic [35:0] upper;
  logic [63:0] stepped;
  logic [47:0] number;

  assign upper = 36'(column2_q) + 36'(column1_q[34:32]);
  assign stepped = {column1_q[31:0] + 32'(column0_q[32]), column0_q[31:0]};
  assign number = {column3_q + 16'(upper[35:32]), upper[31:0]};

  always_ff @(posedge clk_i) begin
    factor_q <= state_q == Draw ? random_q : pcg_q;
    other_q <= state_q == Draw ? 64'(sum_q) : 64'd6364136223846793005;
    for (int i = 0; i < 4; i++) low_q[i*48+:48] <= 48'(factor_q[i*16+:16]) * 48'(other_q[31:0]);
    for (int i = 0; i < 3; i++) high_q[i*48+:48] <= 48'(factor_q[i*16+:16]) * 48'(other_q[63:32]);
    top_q <= 32'(factor_q[63:48]) * other_q[63:32];
    low0_q <= {49'(low_q[47:16]) + 49'(low_q[95:48]), low_q[15:0]};
    low1_q <= {49'(low_q[143:112]) + 49'(low_q[191:144]), low_q[111:96]};
    high0_q <= {49'(high_q[47:16]) + 49'(high_q[95:48]), high_q[15:0]};
    high1_q <= {high_q[143:112] + top_q, high_q[111:96]};
    column0_q <= 33'(low0_q[31:0]) + 33'(state_q != Draw);
    column1_q <= 35'(low0_q[64:32]) + 35'(low1_q[31:0]) + 35'(high0_q[31:0]);
    column2_q <= 35'(low1_q[64:32]) + 35'(high0_q[64:32]) + 35'(high1_q[31:0]);
    column3_q <= high1_q[47:32];
  end

  // A permuted congruential generator: two outputs make one number of 64 bits, high word first.  A step follows a seed (which stands
  // in its place until then) and each output.
  logic [31:0] pcg_word;
  logic [4:0] turn;
  logic [5:1] step_q;
  logic draw;

  assign pcg_word = 32'(((pcg_q >> 18) ^ pcg_q) >> 27);
  assign turn = 5'(pcg_q >> 59);
  assign draw = state_q == Total && (count_q == 32'd0 || count_q == 32'd6);

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      pcg_q <= 64'd6364136223846793006;
      step_q <= '0;
    end else begin
      if (seed_i) pcg_q <= seed_value_i + 64'd1;
      else if (step_q[5]) pcg_q <= stepped;
      step_q <= seed_i ? 5'b00001 : {step_q[4:1], draw};
    end
    if (draw) random_q <= {random_q[31:0], (pcg_word >> turn) | (pcg_word << (5'd0 - turn))};
    if (read_q[8]) word_sum_q <= word_sum;
    if (read_q[9]) sum_q <= (address9_q == '0 ? 48'd0 : sum_q) + word_sum_q;
    if (state_q == Draw) begin
      rest_q <= number;
      seen_q <= 1'b0;
    end
    if (state_q == Find && read_q[9] && !seen_q) begin
      seen_q <= word_rest[48];
      found_q <= address9_q;
      if (!word_rest[48]) rest_q <= word_rest[47:0];
    end
    if (state_q == Pick) begin
      if (lane_rest[48] && seen_q) begin
        token_o <= TokenWidth'(32'(found_q) * Vec + count_q);
        seen_q <= 1'b0;
      end
      rest_q <= lane_rest[47:0];
    end
    if (end_q) token_o <= valid_q && (first_q || word_best_q > best_q) ? TokenWidth'(32'(word_q) * Vec + 32'(word_lane_q)) : best_token_q;
  end

  assign done_o = inv_temperature_i == '0 ? end_q : state_q == Pick && last;
endmodule
