// A key and a value of two parts go to an address; a key, a value and steps of addresses written before are read.
module kv_tb;
  localparam int InWidth = 2 * 64 + 2 * 16 + 4 * 2, OutWidth = 2 * 64 + 2 * 16, Latency = 7, Gap = 8;
  localparam string Name = "kv";
  `include "driver.svh"
  logic [4:0] at = '0;
  logic value, part;
  always @(posedge clk) at <= {at[3:0], valid};
  assign value = |at[2:1];           // parts of the key in cycles 0 and 1, of the value in 2 and 3
  assign part = at[0] || at[2];
  burin_kv #(.Depth(4), .ChunkBits(32), .Parts(2), .PartWidth(1)) u_dut (
      .clk_i(clk), .write_k_i(valid || at[0]), .write_v_i(value), .write_addr_i(in[161:160]), .part_i(part), .data_i(in[{value,part}*32+:32]),
      .step_i(value ? in[159:144] : in[143:128]), .read_k_i(at[4]), .read_v_i(at[4]), .read_steps_i(at[4]), .k_addr_i(in[163:162]), .v_addr_i(in[165:164]),
      .steps_addr_i(in[167:166]), .k_o(out[63:0]), .v_o(out[127:64]), .k_step_o(out[143:128]), .v_step_o(out[159:144]));
endmodule
