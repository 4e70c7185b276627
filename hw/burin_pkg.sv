// The integer operations that every formula of doc/arithmetic.md is made of (src/chip/fixed.h in C).
package burin_pkg;

  // The stages of a token, in the order in which a layer walks them.
  localparam logic [2:0] StageQkv = 3'd0;
  localparam logic [2:0] StageO = 3'd1;
  localparam logic [2:0] StageGateUp = 3'd2;
  localparam logic [2:0] StageDown = 3'd3;
  localparam logic [2:0] StageHead = 3'd4;

  // Matrices, as in src/chip/chip.h.
  localparam logic [2:0] MatQ = 3'd0;
  localparam logic [2:0] MatK = 3'd1;
  localparam logic [2:0] MatV = 3'd2;
  localparam logic [2:0] MatO = 3'd3;
  localparam logic [2:0] MatGate = 3'd4;
  localparam logic [2:0] MatUp = 3'd5;
  localparam logic [2:0] MatDown = 3'd6;
  localparam logic [2:0] MatHead = 3'd7;

  // Bit length; 0 for 0.
  function automatic logic [5:0] bit_length(input logic [31:0] x);
    bit_length = 6'd0;
    for (int i = 0; i < 32; i++) if (x[i]) bit_length = 6'(i + 1);
  endfunction

  // |x|; the value -2^31 does not occur.
  function automatic logic [31:0] magnitude(input logic signed [31:0] x);
    magnitude = x[31] ? -x : x;
  endfunction

  // Clamp to +-(2^31 - 1).
  function automatic logic signed [31:0] sat32(input logic signed [63:0] x);
    if (x > 64'sh7fff_ffff) sat32 = 32'sh7fff_ffff;
    else if (x < -64'sh7fff_ffff) sat32 = -32'sh7fff_ffff;
    else sat32 = x[31:0];
  endfunction

  // x * 2^-s to nearest, halves up; s = 0 .. 63.  (x + 2^(s-1)) >> s without the carry into the bits that are dropped.
  function automatic logic signed [63:0] rsr(input logic signed [63:0] x, input logic [5:0] s);
    logic signed [63:0] y;
    y = x >>> (s - 6'd1);
    rsr = s == 6'd0 ? x : (y + 64'sd1) >>> 1;
  endfunction

  // The same for any s, clamped; a negative s multiplies.
  function automatic logic signed [31:0] shr(input logic signed [63:0] x, input logic signed [9:0] s);
    logic signed [9:0] n;
    n = -s;
    if (s > 10'sd63) shr = 32'sd0;
    else if (s >= 10'sd0) shr = sat32(rsr(x, s[5:0]));
    else shr = sat32(64'(sat32(x)) <<< (n > 10'sd31 ? 5'd31 : n[4:0]));
  endfunction

  // t * reciprocal * 2^-22 to nearest: an 8-bit element from its 15 bits and floor(2^22 / u).
  function automatic logic signed [7:0] to_8_bits(input logic signed [16:0] t, input logic [14:0] reciprocal);
    to_8_bits = 8'((34'(t) * 34'($signed({1'b0, reciprocal})) + 34'sd2097152) >>> 22);
  endfunction

  // x * 2^-e to nearest where e belongs to the vector's step: at most 15 bits and a sign.
  function automatic logic signed [16:0] to_15_bits(input logic signed [31:0] x, input logic signed [6:0] e);
    logic [4:0] n;
    n = 5'(e > 7'sd0 ? e - 7'sd1 : -e);
    to_15_bits = 17'(e > 7'sd0 ? ((x >>> n) + 32'sd1) >>> 1 : x <<< n);
  endfunction
endpackage
