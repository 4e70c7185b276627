verilator --lint-only -Wall burin_tables_pkg.sv burin_pkg.sv $1.sv -y . --top-module $1 $2 2>&1 | grep -v "UNUSEDPARAM: burin_pkg" | grep -A4 '^%' | head -${3:-20}
