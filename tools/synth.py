#!/usr/bin/env python3
"""Synthesis of the hardware's modules with a real library: cells, area, critical path.  Called by make synth.

    tools/synth.py [--only NAME,...] [--write]
    tools/synth.py --netlists DIR        gates for simulation: the library's cells and the modules that the unit testbenches take

Yosys maps each module at the size of --size tile (or the parameters below) to osu018 (TSMC 0.18 um, Debian's qflow-tech-osu018),
OpenSTA says how long its longest path is without wires.  --write puts the table into doc/hardware.md and doc/synthesis.json.
Areas are sums of cell areas from the LEF, since the liberty file is wrong for three cells.
"""
import argparse, concurrent.futures, json, os, re, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TECH = "/usr/share/qflow/tech/osu018/"
LIB, LEF = TECH + "osu018_stdcells.lib", TECH + "osu018_stdcells.lef"
EXPONENTS = "288'hebe7eceaeaeaeaeae8ebeaebe9eaeae8ebeaeae9eaeae7ebe9eae9eae8e6e9e9e9e7eae8"  # of the tiny model's matrices
EMBED_LEVELS = "512'h" + "".join(f"{2 * i - 63 & 255:02x}" for i in reversed(range(64)))
# module: parameters.
MODULES = [
    ("burin_step", {}), ("burin_max", {"Vec": 8}), ("burin_divide", {"Digits": 17, "Radix": 1}),
    ("burin_root", {"Radix": 1, "RootDim": "17'd2048", "Eps": "48'd10737"}), ("burin_quantise", {"Vec": 8, "IndexWidth": 8}),
    ("burin_residual", {"Vec": 8, "IndexWidth": 8, "DimWords": 8}), ("burin_embed", {"Vec": 8, "IndexWidth": 8, "DimWords": 8, "Bits": 6, "Levels": 64, "Level": EMBED_LEVELS, "Shift": "10'd10"}),
    ("burin_activations", {"Size": 192, "Vec": 8, "Taps": 8, "IndexWidth": 8}),
    ("burin_products", {"Taps": 8, "Codes": 8}), ("burin_lane", {"Taps": 8, "CodeBits": 3}), ("burin_lane_structural", {"Taps": 8, "CodeBits": 3}),
    ("burin_lane_structural", {"Taps": 64, "CodeBits": 3}), ("burin_sweep", {"IndexWidth": 8, "Taps": 8, "BlockWords": 2}),
    ("burin_bank", {"Lanes": 16, "Taps": 8, "Vec": 8, "CodeBits": 3, "Mats": 36, "ScaleWords": 272, "Width": "108'h" + "249" * 9, "Depth": "160'h" + f"{0x800:032x}" + "0" * 8}),
    ("burin_finish", {"Vec": 8, "IndexWidth": 8, "Mats": 36, "RowWords": 464, "Exponent": EXPONENTS}),
    ("burin_rotary", {"Vec": 8, "IndexWidth": 8, "HeadDim": 16, "RotaryDims": 16, "PositionWidth": 9, "HighDepth": 8}),
    ("burin_heads", {"Vec": 8, "HeadDim": 16}), ("burin_score", {"HeadDim": 16}), ("burin_softmax", {}),
    ("burin_attention_unit", {"Share": 2, "HeadDim": 16, "Vec": 8, "Scan": 2, "Rounds": 2, "Radix": 1, "CacheDepth": 2560, "Rows": 256, "RowWidth": 8}),
    ("burin_attention", {"Units": 2, "Share": 2, "HeadDim": 16, "Vec": 8, "Scan": 2, "Rounds": 2, "Radix": 1, "Layers": 5, "Context": 512, "PositionWidth": 9, "IndexWidth": 8}),
    ("burin_butterfly", {"Width": 64, "Level": 0}), ("burin_silu", {}), ("burin_gate", {"Vec": 8, "IndexWidth": 8, "Ffn": 192}),
    ("burin_sampler", {"Vec": 8, "IndexWidth": 8, "Vocab": 64}), ("burin_sequencer", {}), ("burin_port", {})]
# Left out of the module that holds them, their ports timed as its own: memories, and what has a row of its own.
MEMORIES = ["burin_rom", "burin_ram", "burin_kv"]
PARTS = {"burin_attention": ["burin_attention_unit"], "burin_gate": ["burin_silu", "burin_butterfly"]}
CLOCK_TO_Q = .2  # ns, of DFFPOSX1 with a small load: what stands before a module's inputs
CELLS = ["burin_fa", "burin_ha", "burin_aoi22"]  # of hw/cells: stay whole until the technology map replaces them


# For --netlists: the parameters of hw/tb/unit.
NETLISTS = {"burin_lane": {"Taps": 8, "CodeBits": 3}, "burin_lane_structural": {"Taps": 8, "CodeBits": 3}, "burin_softmax": {},
            "burin_root": {"Radix": 4, "RootDim": "17'd6144", "Eps": "48'd96637"}, "burin_quantise": {"Vec": 8, "IndexWidth": 4}}


def lef_areas():
    areas = {}
    for name, w, h in re.findall(r"MACRO (\w+)\n.*?SIZE\s+([\d.]+)\s+BY\s+([\d.]+)", open(LEF).read(), re.S):
        areas[name] = float(w) * float(h)
    return areas


def sources(hw, stubs, folder):
    """Files of the design in a folder, packages first; of stubs the headers alone, which are written to another folder."""
    files = sorted(f"{hw}/{f}" for f in os.listdir(hw) if f.endswith(".sv") and f[:-3] not in stubs)
    for m in stubs:
        open(f"{folder}/{m}.sv", "w").write(stub(m))
    return [f for f in files if f.endswith("_pkg.sv")] + [f for f in files if not f.endswith("_pkg.sv")] + [f"{folder}/{m}.sv" for m in stubs]


def stub(name):
    """A module's header alone, as a black box."""
    text = open(f"{ROOT}/hw/{name}.sv").read()
    return "(* blackbox *)\n" + text[text.index(f"module {name}"):text.index(");\n", text.index(f"module {name}"))] + ");\nendmodule\n"


CELLS_SCRIPT = f"""read_verilog -sv {' '.join(f'{ROOT}/hw/cells/{c}.sv' for c in CELLS)}
setattr -mod -set keep_hierarchy 1 {' '.join(CELLS)}
"""


def until_cells(parts, library):
    """Yosys' commands from an elaborated top module to gates, flip-flops and the structural cells of a library; instances of parts
    (patterns of names) become ports."""
    return f"""flatten
opt -full
expose -evert {' '.join(f't:{m}' for m in parts)}
delete -output o:*.clk_i
wreduce
opt_clean
synth -flatten -run fine:
techmap -map {ROOT}/hw/cells/{library}_map.v
"""


def elaborated(name, parameters, folder):
    """Yosys' commands from the sources to one module in gates."""
    parts = MEMORIES + PARTS.get(name, [])
    # Not hierarchy -chparam: Yosys 0.23 then derives the modules within twice, and stops.
    chparam = f"chparam {' '.join(f'-set {k} {v}' for k, v in parameters.items())} {name}" if parameters else ""
    return f"""read_verilog -sv -defer {' '.join(sources(f'{ROOT}/hw', parts, folder))}
{CELLS_SCRIPT}{chparam}
hierarchy -check -top {name}
proc
""" + until_cells([f"*{m}*" for m in parts], "osu018")


def synthesise(name, parameters, folder):
    script = elaborated(name, parameters, folder) + f"""dfflibmap -liberty {LIB}
abc -D 4000 -constr {folder}/{name}.constr -liberty {LIB}
opt_clean -purge
rename -top top
tee -o {folder}/{name}.stat.json stat -json
write_verilog -noattr -noexpr -simple-lhs {folder}/{name}.v
"""
    open(f"{folder}/{name}.constr", "w").write("set_driving_cell INVX1\nset_load 30 [all_outputs]\n")  # makes abc buffer and size
    open(f"{folder}/{name}.ys", "w").write(script)
    r = subprocess.run(["yosys", "-q", f"{folder}/{name}.ys"], capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"{name}: yosys failed\n{r.stdout[-1500:]}{r.stderr[-1500:]}")
    text = open(f"{folder}/{name}.v").read()  # OpenSTA takes brackets within a name for a bus
    open(f"{folder}/{name}.v", "w").write(re.sub(r"\\(\S+) ", lambda m: re.sub(r"\W", "_", m[1]) + " ", text))
    text = open(f"{folder}/{name}.stat.json").read()
    counts = json.loads(text[text.index("{"):])["modules"]
    cells = {}
    for module in counts.values():
        for c, n in module.get("num_cells_by_type", {}).items():
            cells[c] = cells.get(c, 0) + n
    return cells


def timing(name, folder):
    tcl = f"""read_liberty {LIB}
read_verilog {folder}/{name}.v
link_design top
create_clock -name clk -period 100 [get_ports clk_i]
set_input_delay {CLOCK_TO_Q} -clock clk [all_inputs]
set_output_delay 0 -clock clk [all_outputs]
report_checks -path_delay max -digits 3
"""
    open(f"{folder}/{name}.tcl", "w").write(tcl)
    out = subprocess.run(["sta", "-no_splash", "-exit", f"{folder}/{name}.tcl"], capture_output=True, text=True)
    text = out.stdout + out.stderr
    slack = re.search(r"(-?[\d.]+)\s+slack \((MET|VIOLATED)\)", text)
    if "Error" in text or not slack:  # sta ends with status 0 after errors
        sys.exit(f"{name}: OpenSTA failed\n{text[-1500:]}")
    return 100 - float(slack[1])


def netlists(folder):
    """Each module as gates under its own name; the parameters that a testbench sets are taken and must be those."""
    subprocess.run(["yosys", "-q", "-p", f"read_liberty -ignore_miss_func {LIB}; write_verilog -noattr {folder}/cells.v"], check=True)

    def one(item):
        name, parameters = item
        synthesise(name, parameters, folder)
        text = open(f"{folder}/{name}.v").read()
        head = f"module {name}" + (f" #({', '.join(f'parameter {k} = 0' for k in parameters)})" if parameters else "")
        open(f"{folder}/{name}.v", "w").write(re.sub(r"\bmodule top\b", head, text, count=1))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(one, NETLISTS.items()))


def shown(parameters):
    """Without the long constants: codebooks, exponents."""
    return ", ".join(f"{k} {v}" for k, v in parameters.items() if len(str(v)) < 20)


def measure(name, parameters, folder, areas):
    """A row of the table."""
    own = tempfile.mkdtemp(dir=folder)
    cells, path = synthesise(name, parameters, own), timing(name, own)
    unknown = [c for c in cells if c not in areas]
    if unknown:
        sys.exit(f"{name}: not mapped to the library: {unknown}")
    row = {"module": name, "parameters": shown(parameters), "cells": sum(cells.values()), "flip_flops": sum(n for c, n in cells.items() if c.startswith("DFF")),
           "full_adders": cells.get("FAX1", 0), "area_um2": round(sum(areas[c] * n for c, n in cells.items())), "path_ns": round(path, 2)}
    print(f"{name:24} {row['cells']:6} cells {row['area_um2']:8} um2 {row['path_ns']:6.2f} ns  {row['parameters']}", flush=True)
    return row


def write(rows):
    """The table into the documents and the plan."""
    json.dump({"library": "osu018, LEF areas, typical corner, no wires", "tools": subprocess.run(["yosys", "-V"], capture_output=True, text=True).stdout.strip(),
               "modules": rows}, open(os.path.join(ROOT, "doc/synthesis.json"), "w"), indent=1)
    table = "| module | parameters | cells | flip-flops | full adders | area, um2 | longest path, ns |\n|---|---|---|---|---|---|---|\n" + "".join(
        f"| {r['module']} | {r['parameters']} | {r['cells']} | {r['flip_flops']} | {r['full_adders']} | {r['area_um2']} | {r['path_ns']} |\n" for r in rows)
    rows_c = "".join("    {%s, %s, %d, %g},\n" % (json.dumps(r["module"]), json.dumps(r["parameters"]), r["area_um2"], r["path_ns"]) for r in rows)
    for file, pattern, new in (("src/plan/facts.c", r"(/\* synthesis \*/\n).*?(    /\* end \*/)", rows_c), ("doc/hardware.md", r"(<!-- synthesis -->\n).*?(<!-- end -->)", table)):
        text = open(os.path.join(ROOT, file)).read()
        open(os.path.join(ROOT, file), "w").write(re.sub(pattern, lambda m: m[1] + new + m[2], text, flags=re.S))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--only", default="")
    p.add_argument("--write", action="store_true")
    p.add_argument("--netlists", metavar="DIR")
    a = p.parse_args()
    if a.netlists:
        return netlists(a.netlists)
    areas = lef_areas()
    wanted = a.only.split(",") if a.only else None
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(lambda m: measure(*m, folder, areas), [m for m in MODULES if not wanted or m[0] in wanted]))
    if a.write:
        write(rows)


if __name__ == "__main__":
    main()
