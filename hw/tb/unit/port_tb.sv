// A write, or none, and what the machine and a read of the same address see behind it.
module port_tb;
  localparam int InWidth = 1 + 4 + 32 + 32 + 32, OutWidth = 1 + 32 + 32 + 23 + 17 + 1 + 64 + 32, Latency = 1, Gap = 1;
  localparam string Name = "port";
  `include "driver.svh"
  logic clear, stop_valid, seed;
  logic [31:0] length, read;
  logic [30:0] stop_token;
  logic [22:0] inv_temperature;
  logic [16:0] min_p;
  logic [63:0] seed_value;
  burin_port #(.Vocab(512), .Context(300), .Hash(128'h0123456789abcdef_fedcba9876543210)) u_dut (
      .clk_i(clk), .rst_i(rst), .reg_write_i(valid && in[0]), .reg_addr_i(in[4:1]), .reg_wdata_i(in[36:5]), .reg_rdata_o(read),
      .position_i(in[68:37]), .cycles_i(in[100:69]), .clear_o(clear), .length_o(length), .stop_valid_o(stop_valid), .stop_token_o(stop_token),
      .inv_temperature_o(inv_temperature), .min_p_o(min_p), .seed_o(seed), .seed_value_o(seed_value));
  assign out = {read, seed_value, seed, min_p, inv_temperature, stop_token, stop_valid, length, clear};
endmodule
