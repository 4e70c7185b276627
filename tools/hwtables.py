#!/usr/bin/env python3
"""hw/burin_tables_pkg.sv from the tables of src/chip/tables.c: one source for both.  Prints it; `make check` compares.

    tools/hwtables.py > hw/burin_tables_pkg.sv
"""
import os, re

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
source = open(os.path.join(ROOT, "src/chip/tables.c")).read()
TABLES = [("exp2_table", "exp2", 15, "floor(32767 * 2^(-i/64) + 1/2)"), ("exp2_table_30", "exp2_fine", 30, "floor((2^30 - 1) * 2^(-i/64) + 1/2)"),
          ("sigmoid_table", "sigmoid", 16, "floor(32768 / (1 + exp(-i/4)) + 1/2)")]

print("""// The constant tables of doc/arithmetic.md, entry i of 65.  Written by tools/hwtables.py from src/chip/tables.c.
package burin_tables_pkg;""")
for c_name, name, bits, formula in TABLES:
    body = re.search(r"\b%s\[65\] = \{(.*?)\}" % c_name, source, re.S).group(1)
    values = [int(x) for x in body.replace("\n", " ").split(",") if x.strip()]
    assert len(values) == 65 and max(values) < 1 << bits
    print(f"\n  // {formula}")
    print(f"  function automatic logic [{bits - 1}:0] {name}(input logic [6:0] i);")
    print("    case (i)")
    for i, v in enumerate(values):
        label = "default" if i == 64 else f"7'd{i}"
        print(f"      {label}: {name} = {bits}'d{v};")
    print("    endcase\n  endfunction")
print("""
  // floor(2^22 / u) for u = 130 .. 258, the reciprocals of steps (zero elsewhere).
  function automatic logic [14:0] reciprocal(input logic [8:0] u);
    case (u)""")
for u in range(130, 259):
    print(f"      9'd{u}: reciprocal = 15'd{(1 << 22) // u};")
print("""      default: reciprocal = 15'd0;
    endcase
  endfunction
endpackage""")
