module quantise_tb;
  localparam int Vec = 8, Words = 3;
  localparam int InWidth = 32 + Words * Vec * 32, OutWidth = 48 + 16 + (Words + 1) * Vec * 8, Latency = 8, Gap = 9;
  localparam string Name = "quantise";
  `include "driver.svh"
  logic read, write, sum_valid;
  logic [3:0] index, write_index;
  logic [Vec*32-1:0] data;
  logic [Vec*8-1:0] a;
  logic [(Words+1)*Vec*8-1:0] all = '0;
  logic [8:0] u;
  logic [6:0] e;
  logic [47:0] sum;
  burin_quantise #(.Vec(Vec), .IndexWidth(4)) u_dut (
      .clk_i(clk), .rst_i(rst), .go_i(valid), .words_i(4'd3), .padded_i(4'd4), .max_i(in[31:0]), .read_o(read), .index_o(index), .data_i(data),
      .write_o(write), .write_index_o(write_index), .a_o(a), .step_u_o(u), .step_e_o(e), .sum_o(sum), .sum_valid_o(sum_valid));
  always @(posedge clk) begin
    if (read) data <= in[32+index*Vec*32+:Vec*32];
    if (write) all[write_index*Vec*8+:Vec*8] <= a;
    if (sum_valid && !due[Words+4]) $fatal(1, "sum_valid_o came in another cycle");
  end
  assign out = {sum, u, e, all};
endmodule
