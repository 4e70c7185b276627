// 60 logits in words of 8 (the last word is not whole), a seed, a temperature and min-p; the generator is seeded for each vector.
module sampler_tb;
  localparam int Vec = 8, Words = 8, Vocab = 60;
  localparam int InWidth = Words * Vec * 32 + 64 + 23 + 17, OutWidth = 6, Latency = 67, Gap = 69;
  localparam string Name = "sampler";
  `include "driver.svh"
  logic [7:0] at = '0;
  logic done, write;
  logic [2:0] word;
  always @(posedge clk) at <= {at[6:0], valid};
  assign write = |at;
  always_comb begin
    word = 3'd0;
    for (int i = 0; i < 8; i++) if (at[i]) word = 3'(i);
  end
  burin_sampler #(.Vec(Vec), .IndexWidth(3), .Vocab(Vocab)) u_dut (
      .clk_i(clk), .rst_i(rst), .seed_i(valid), .seed_value_i(in[Words*Vec*32+:64]), .inv_temperature_i(in[Words*Vec*32+64+:23]),
      .min_p_i(in[Words*Vec*32+87+:17]), .valid_i(write), .word_i(word), .end_i(word == 3'd7), .z_i(in[word*Vec*32+:Vec*32]), .done_o(done),
      .token_o(out));
endmodule
