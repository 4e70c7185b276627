// The largest magnitude of a vector that comes Vec elements a cycle.
//
// Timing: a word in cycle c (first_i: it begins the vector) counts in max_o from c + 3 on; done_o is high in c + 2 for the word
// that end_i marked.
module burin_max #(
    parameter int unsigned Vec = 16
) (
    input  logic              clk_i,
    input  logic              rst_i,
    input  logic              valid_i,
    input  logic              first_i,
    input  logic              end_i,
    input  logic [Vec*32-1:0] x_i,
    output logic [      31:0] max_o,
    output logic              done_o
);
  logic [2:1] valid_q, first_q, end_q;
  logic [31:0] magnitude_q[0:Vec-1];
  logic [31:0] node[1:2*Vec-1];  // of a tree: the larger of nodes 2 i and 2 i + 1
  logic [31:0] most_q;

  for (genvar i = 0; i < Vec; i++) begin : gen_lane
    always_ff @(posedge clk_i) begin
      if (valid_i) magnitude_q[i] <= burin_pkg::magnitude(x_i[i*32+:32]);
    end
  end

  always_comb begin
    for (int i = 0; i < Vec; i++) node[Vec+i] = magnitude_q[i];
    for (int i = Vec - 1; i > 0; i--) node[i] = node[2*i+1] > node[2*i] ? node[2*i+1] : node[2*i];
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      valid_q <= '0;
      end_q <= '0;
    end else begin
      valid_q <= {valid_q[1], valid_i};
      end_q <= {end_q[1], valid_i && end_i};
    end
    first_q <= {first_q[1], first_i};
    if (valid_q[1]) most_q <= node[1];
    if (valid_q[2]) max_o <= first_q[2] || most_q > max_o ? most_q : max_o;
  end

  assign done_o = end_q[2];
endmodule
