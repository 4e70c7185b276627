"""Tests of the hardware: hw/, src/rtl, burin rtl and verify.  Imported by run.py; alone it runs the long one (make check-long)."""
import concurrent.futures, json, os, re, shutil, subprocess, time

from harness import BURIN, TINY, chip, done, path, quality, run, smollm2, test

PROMPTS = ["Once upon a time", "The little dog", "Lily saw a big"]
# Shapes and knobs that differ in what matters: shared heads and not, words that part a head and that hold several, rounds of
# attention, groups within a word and across words, padding on both sides, rows of many blocks, every radix.
MACHINES = {
    "shared heads in two rounds": ("layers=2,dim=64,ffn=192,heads=4,kv_heads=2,head_dim=16,vocab=300,context=64", 3.5,
                                   "--lanes 32 --taps 8 --vec 8 --scan 2 --heads 1 --radix 1"),
    "a word of two groups": ("layers=2,dim=64,ffn=192,heads=4,kv_heads=4,head_dim=16,vocab=300,context=64", 3.1,
                             "--lanes 16 --taps 128 --vec 16 --scan 8 --radix 8"),
    "one position a cycle": ("layers=1,dim=96,ffn=128,heads=6,kv_heads=3,head_dim=16,vocab=300,context=100", 6.15,
                             "--lanes 48 --taps 32 --vec 16 --heads 1 --scan 1 --radix 2"),
    "a head of two words": ("layers=1,dim=64,ffn=128,heads=2,kv_heads=1,head_dim=64,vocab=300,context=64", 4.25,
                            "--lanes 32 --taps 32 --vec 32 --scan 4"),
    "odd sizes": ("layers=1,dim=72,ffn=128,heads=4,kv_heads=2,head_dim=18,vocab=301,context=64", 2.2, "--lanes 8 --taps 16 --vec 2 --scan 4"),
    "one head": ("layers=3,dim=128,ffn=256,heads=1,kv_heads=1,head_dim=128,vocab=300,context=64", 4.8, "--lanes 32 --taps 16 --vec 16 --scan 2"),
}


def verify(*options, timeout=900):
    return json.loads(done(BURIN, "verify", *options, "--json", timeout=timeout))


@test
def hardware_tables_are_the_engines():
    assert done("python3", "tools/hwtables.py") == open("hw/burin_tables_pkg.sv").read(), "run tools/hwtables.py > hw/burin_tables_pkg.sv"


@test
def hardware_modules_equal_the_arithmetic():
    """Each module's testbench against vectors of the scalar C."""
    folder = path("unit")
    os.makedirs(folder, exist_ok=True)
    names = done("build/test/hardware", "list").split()
    for f in ("rows", "high", "low", "embed_codes", "embed_rows", "bank_codes3", "bank_codes4", "bank_levels", "bank_scales"):
        f += ".hex"
        open(f"{folder}/{f}", "w").write(done("build/test/hardware", "rom", f))
    for n in names:
        open(f"{folder}/{n}.vec", "w").write(done("build/test/hardware", n))
    done("verilator", "--binary", "--timing", "-j", "2", "-Wno-fatal", "-Wno-WIDTH", "--Mdir", f"{folder}/sim", "--top-module", "unit_tb", "-Ihw/tb/unit",
         "-y", "hw/tb/unit", "-y", "hw", "-y", "hw/cells", "hw/burin_tables_pkg.sv", "hw/burin_pkg.sv", "hw/tb/unit/unit_tb.sv", "-MAKEFLAGS",
         "OPT_FAST=-O0 OPT_SLOW=-O0", timeout=600)

    def results():
        out = subprocess.run(["./sim/Vunit_tb"], cwd=folder, capture_output=True, text=True, timeout=300).stdout
        return {m[1]: (int(m[2]), int(m[3])) for m in re.finditer(r"^(\w+): (\d+) vectors, (\d+) wrong", out, re.M)}
    right = results()
    assert sorted(right) == sorted(names) and all(n > 0 and wrong == 0 for n, wrong in right.values()), right
    for n in names:  # a bench that cannot fail is none: one bit of the last expected output
        lines = open(f"{folder}/{n}.vec").read().split("\n")
        lines[-2] = lines[-2][:-1] + ("0" if lines[-2][-1] != "0" else "1")
        open(f"{folder}/{n}.vec", "w").write("\n".join(lines))
    spoilt = results()
    assert all(spoilt[n] == (right[n][0], 1) for n in names), spoilt
    return sum(n for n, wrong in right.values())


@test
def hardware_lints_clean():
    """Verilator -Wall without waivers, Yosys without problems, memories as they are counted; at two sizes."""
    narrow = chip(TINY, "--bits", "all=3", "--fast")
    for i, (c, knobs) in enumerate(((chip(), ("--size", "tile")), (narrow, ("--lanes", "32", "--taps", "128", "--vec", "32", "--heads", "2")))):
        folder = path(f"lint-{i}")
        done(BURIN, "rtl", c, "-o", folder, *knobs, "--ctx", "64")
        assert run("grep", "-rn", "lint_off", folder).returncode == 1
        subprocess.run(["verilator", "--xml-only", "--xml-output", "design.xml", "-f", "burin.f", "--top-module", "burin_chip"], cwd=folder, check=True, timeout=600)
        rams = re.findall(r'submodname="burin_ram__W([0-9a-f]+)_D([0-9a-f]+)"', open(f"{folder}/design.xml").read())
        assert sum(int(w, 16) * int(d, 16) for w, d in rams) == int(re.search(r"memories of vectors \| (\d+) bits", open(f"{folder}/README.md").read())[1])
        done("make", "-C", folder, "lint")
        r = subprocess.run(["yosys", "-q", "-p", "read_verilog -sv -defer " + " ".join(open(f"{folder}/burin.f").read().split()) +
                            "; hierarchy -check -top burin_chip; proc; check -assert"], cwd=folder, capture_output=True, text=True, timeout=600)
        assert r.returncode == 0 and "latch" not in r.stdout.lower(), (r.stdout + r.stderr)[-2000:]
    return 6


@test
def hardware_equals_the_engine_at_every_size():
    """Tokens, cycles and every intermediate vector."""
    def one(name):
        shape, bits, knobs = MACHINES[name]
        folder = path("machine-" + name.replace(" ", "-"))
        r = verify("--shape", shape, "--bits", str(bits), *knobs.split(), "--dir", folder, "--trace", "--prompt", "5 9 0 17 3", "--ids", "-n", "6")
        s = verify("--shape", shape, "--bits", str(bits), *knobs.split(), "--dir", folder, "--trace", "--prompt", "7", "--ids", "-n", "100",
                   "--temperature", "1.2", "--seed", "3", "--min-p", "0.01")
        shutil.rmtree(folder)
        return [f"{name}: {x}" for x in (r, s) if not x["equal"] or x["cycles"] != x["predicted_cycles"]], r["tokens"] + s["tokens"]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(one, MACHINES))
    assert not any(r[0] for r in results), results
    return sum(r[1] for r in results)


@test
def hardware_writes_a_story():
    """The tiny model, whole: several prompts, greedy and drawn, to the end of the context."""
    folder, prompts = path("story"), path("prompts.txt")
    open(prompts, "w").write("\n".join(PROMPTS) + "\n")
    tokens = 0
    for options in (["-f", prompts, "-n", "256"], ["-f", prompts, "-n", "256", "--temperature", "0.9", "--seed", "7", "--min-p", "0.05"],
                    ["-f", prompts, "-n", "600", "--temperature", "1.3", "--seed", str(2**64 - 1)]):
        r = verify(chip(), "--dir", folder, *options)
        assert r["equal"] and r["cycles"] == r["predicted_cycles"], r
        tokens += r["tokens"]
    assert tokens > 2 * 3 * 256 + 3 * 500, tokens  # the last answers fill the context; the next prompt clears it
    return tokens


@test
def hardware_faults_are_found():
    """One ROM bit, two product lines, one rounding constant: verify fails and says where."""
    folder = path("faults")
    same = ("--dir", folder, "-n", "6", "--trace", "--as-is")
    done(BURIN, "rtl", chip(), "-o", folder)
    assert verify(chip(), *same)["equal"]

    def spoil(name, change, expected):
        file = f"{folder}/{name}"
        good = open(file).read()
        bad = change(good)
        assert bad != good
        open(file, "w").write(bad)
        r = run(BURIN, "verify", chip(), *same, timeout=600)
        open(file, "w").write(good)
        assert r.returncode == 1 and re.search(expected, r.stderr), f"{name}: {r.stdout} {r.stderr}"

    def flip_bit(text):
        at = len(text) // 2
        at += text[at] == "\n"
        return text[:at] + f"{int(text[at], 16) ^ 1:x}" + text[at + 1:]

    def swap_lines(text):  # two neighbouring levels of the first matrix
        line, rest = text.split("\n", 1)
        n = len(line)
        return line[:n - 8] + line[n - 6:n - 4] + line[n - 8:n - 6] + line[n - 4:] + "\n" + rest
    spoil("rom/codes4.hex", flip_bit, r"token 0, layer \d, \w+, element \d+: simulation -?\d+, reference -?\d+")
    spoil("rom/levels.hex", swap_lines, r"token 0, layer 0, qkv, element \d+")
    spoil("rom/row_scales.hex", flip_bit, r"layer \d, ")
    spoil("hw/burin_pkg.sv", lambda t: t.replace("34'sd2097152", "34'sd2000000"), r"token \d+, layer \d, \w+_in, element \d+")
    spoil("hw/burin_finish.sv", lambda t: t.replace("33'd32768", "33'd0"), r"token \d+, layer \d, \w+, element \d+")
    spoil("hw/burin_attention.sv", lambda t: t.replace("wait_q == 3'd4", "wait_q == 3'd1"), r"token \d, layer 0, attention, element \d+")
    return 6


@test
def hardware_speed_of_an_8b_model():
    """The schedule of the largest knobs; the same function that the simulations above agree with, cycle by cycle."""
    p = json.loads(done(BURIN, "rtl", "--shape", "llama-3.1-8b", "--size", "n6", "--position", "1000", "--json"))
    assert p["chain_layer"] <= 330 and p["cycles"] <= 20000, p
    assert p["cycles"] == p["embed"] + 32 * sum(p[k] for k in ("qkv", "attention", "o", "gate_up", "butterfly", "down")) + p["head"]
    return 3


@test
def wrong_knobs_get_clear_errors():
    c = chip()
    for knob, expected in (("--vec 3", r"vec 3: expected a power of two"), ("--vec 64", r"vec 64: .*at most 32"), ("--lanes 40", r"lanes 40: expected a multiple of vec"),
                           ("--taps 5", r"taps 5: expected a power of two"), ("--scan 3", r"scan 3"), ("--heads 7", r"heads 7: expected a divisor"),
                           ("--radix 3", r"radix 3: expected 1, 2, 4 or 8"), ("--ctx 1000", r"ctx 1000: expected 1 to 512"), ("--size big", r"size 'big'")):
        r = run(BURIN, "rtl", c, "-o", path("none"), *knob.split())
        assert r.returncode == 1 and re.search(expected, r.stderr), f"{knob}: {r.stderr}"
        assert not os.path.exists(path("none"))
    r = run(BURIN, "rtl", c, "-o", "/proc/none")
    assert r.returncode == 1 and "/proc/none" in r.stderr
    r = run(BURIN, "rtl", c, "--position", "512")
    assert r.returncode == 1 and "expected 0 to 511, found 512" in r.stderr
    for options in (["rtl"], ["rtl", c, "--shape", "llama-3.1-8b"], ["verify"], ["verify", c, "-n", "0"], ["verify", c, "--as-is"]):
        assert run(BURIN, *options).returncode == 2, options
    r = run(BURIN, "verify", "--shape", "stories-260k", "--prompt", "1 x", "--ids")
    assert r.returncode == 1 and "expected token ids below 512" in r.stderr, r.stderr
    return 17


def proof(top, parameter=None, value=None):
    """Bounded model checking of test/formal/TOP.sv: a miter in gates for the arithmetic, by abc's SAT solver."""
    aig = path(f"{top}-{value}.aig")
    sources = [f"hw/{f}" for f in ("burin_products.sv", "burin_lane.sv", "burin_add.sv", "burin_lane_structural.sv", "cells/burin_fa.sv", "cells/burin_ha.sv",
                                   "cells/burin_aoi22.sv")]
    done("yosys", "-q", "-p", f"read_verilog -sv -defer {' '.join(sources)}; read_verilog -sv -formal -defer test/formal/{top}.sv; chparam -set {parameter} {value} {top}; "
         f"prep -flatten -top {top}; async2sync; dffunmap; techmap; opt -full; dffunmap; opt_clean; setundef -undriven -zero; aigmap; write_aiger -zinit {aig}", timeout=300)
    out = done("yosys-abc", "-c", f"read_aiger {aig}; {'fold; ' if top == 'lane' else ''}scorr; bmc3 -F 7", timeout=300)
    return "No output asserted in 7 frames" in out


@test
def hardware_properties_are_proved():
    """Selecting a line is multiplying, for every code; the structural lane is the lane; handshakes hold and the sequencer never hangs."""
    proofs = [("select", "Code", code) for code in range(8)] + [("lane", "Scale", scale) for scale in (1, 2, 4, 8, 16, 32, 22)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for p, held in zip(proofs, pool.map(lambda p: proof(*p), proofs)):
            assert held, p
    smt = path("port.smt2")
    done("yosys", "-q", "-p", "read_verilog -sv -defer hw/burin_pkg.sv hw/burin_sequencer.sv; read_verilog -sv -formal test/formal/port.sv; "
         f"prep -flatten -top port; async2sync; dffunmap; write_smt2 -wires {smt}")
    out = run("yosys-smtbmc", "-s", "z3", "-t", "34", smt, timeout=600).stdout
    assert "Status: PASSED" in out, out[-500:]
    text = open("hw/burin_sequencer.sv").read()  # and a sequencer that drops what it offers is found
    bad = path("bad.sv")
    spoilt = text.replace("default: if (out_ready_i) state_d", "default: if (1'b1) state_d")
    assert spoilt != text
    open(bad, "w").write(spoilt)
    done("yosys", "-q", "-p", f"read_verilog -sv -defer hw/burin_pkg.sv {bad}; read_verilog -sv -formal test/formal/port.sv; "
         f"prep -flatten -top port; async2sync; dffunmap; write_smt2 -wires {smt}")
    assert "Status: FAILED" in run("yosys-smtbmc", "-s", "z3", "-t", "34", smt, timeout=600).stdout
    return 17


@test
def hardware_gates_equal_the_modules():
    """Lane (both views), softmax, quantising and root, mapped to a library, against the vectors of their testbenches."""
    folder = path("gates")
    os.makedirs(folder, exist_ok=True)
    names = {"lane": "burin_lane", "lane_structural": "burin_lane_structural", "softmax": "burin_softmax", "root": "burin_root", "quantise": "burin_quantise"}
    done("python3", "tools/synth.py", "--netlists", folder, timeout=1200)

    def simulate(bench):
        open(f"{folder}/{bench}.vec", "w").write(done("build/test/hardware", bench))
        # Verilator 5.006 folds some trees of gates wrongly (softmax differs then, though its netlist is right)
        done("verilator", "--binary", "--timing", "-fno-const-bit-op-tree", "-j", "1", "-Wno-fatal", "-Wno-WIDTH", "--Mdir", f"{folder}/{bench}", "--top-module", f"{bench}_tb", "-Ihw/tb/unit",
             "-y", "hw", f"{folder}/cells.v", f"{folder}/{names[bench]}.v", "hw/burin_tables_pkg.sv", "hw/burin_pkg.sv", f"hw/tb/unit/{bench}_tb.sv",
             "-MAKEFLAGS", "OPT_FAST=-O0 OPT_SLOW=-O0", timeout=900)
        out = subprocess.run([f"{bench}/V{bench}_tb", "+alone"], cwd=folder, capture_output=True, text=True, timeout=600).stdout
        m = re.search(r"(\d+) vectors, (\d+) wrong", out)
        assert m and int(m[1]) >= 1000 and m[2] == "0", f"{bench}: {out[-500:]}"
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(simulate, names))
    return len(names)


def whole_smollm2():
    """SmolLM2-135M, all layers, real weights: a prompt of 16 tokens and its answer, in simulation.  Too long for every check."""
    start = time.time()
    r = verify(chip(smollm2(), "--fast"), "--ctx", "64", "-p", "Gravity is the force that pulls things towards the earth, and it also keeps the planets", "-n", "2", timeout=3600)
    assert r["equal"] and r["cycles"] == r["predicted_cycles"], r
    print(f"SmolLM2-135M in simulation: {r['tokens']} tokens equal, {r['cycles']} cycles, {time.time() - start:.0f} s")


def quality_of_smollm2():
    """The cast's quality as users meet it: KL against the source at 4.25 calibrated bits."""
    four = quality(smollm2(), 4, "--bits", "4.25")
    print(f"SmolLM2-135M at {four['bits_per_weight']} bits a weight: KL {four['kl_mean']}, top-1 {four['top1']}")
    assert four["kl_mean"] < 0.17 and four["top1"] > 0.74 and 4.2 < four["bits_per_weight"] <= 4.25, four


if __name__ == "__main__":
    quality_of_smollm2()
    whole_smollm2()
