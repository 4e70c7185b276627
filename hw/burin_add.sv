// A ripple-carry adder of explicit full adders: sum_o = a_i + b_i, modulo 2^Width.  Combinational.
module burin_add #(
    parameter int unsigned Width = 8
) (
    input  logic [Width-1:0] a_i,
    input  logic [Width-1:0] b_i,
    output logic [Width-1:0] sum_o
);
  logic [Width-1:1] carry;

  burin_ha u_first (
      .a_i(a_i[0]),
      .b_i(b_i[0]),
      .sum_o(sum_o[0]),
      .carry_o(carry[1])
  );
  for (genvar i = 1; i < Width - 1; i++) begin : gen_bit
    burin_fa u_bit (
        .a_i(a_i[i]),
        .b_i(b_i[i]),
        .c_i(carry[i]),
        .sum_o(sum_o[i]),
        .carry_o(carry[i+1])
    );
  end
  assign sum_o[Width-1] = a_i[Width-1] ^ b_i[Width-1] ^ carry[Width-1];
endmodule
