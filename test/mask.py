"""Tests of the masks: layout written, read back by burin, gdstk and KLayout; rules, netlists, injected faults."""
import json, os, re
import xml.dom.minidom

from harness import ASAN, BURIN, TINY, chip, done, mutants, path, run, test
from serve import python_clients

MIXED = ("--fast", "--bits", "all=4,q=3,v=6,head=6")
OTHER = MIXED + ("--seed", "2")
# Banks and knobs that differ in what matters: one sub-array and several, straps within a bank and a rest behind the last one, wide ROMs
# in slices, narrow ones side by side, groups within a word and across words.
FLOORS = {"the process's banks": (), "one sub-array": ("--rows", "64", "--columns", "64"), "a rest of columns": ("--rows", "128", "--columns", "200"),
          "wide words": ("--lanes", "64", "--taps", "128", "--rows", "192", "--columns", "1024"), "generic": ("--process", "generic", "--rows", "64")}


def check(c, layout, *options, expect=0):
    r = run(BURIN, "mask", c, "--check", layout, "--json", *options, timeout=300)
    assert r.returncode == expect, f"{layout}: exit {r.returncode}\n{r.stdout[-1000:]}{r.stderr[-1000:]}"
    return json.loads(r.stdout)


@test
def masks_hold_the_chip():
    c, n = chip(TINY, *MIXED), 0
    for name, options in FLOORS.items():
        for kind in ("oas", "gds"):
            f = path(f"mask-{name}.{kind}")
            area = json.loads(done(BURIN, "mask", c, "-o", f, "--json", *options, timeout=300))
            r = check(c, f)
            assert r["equal"] and r["vias"] == r["nodes"] and r["bits"] == area["bank_bits"] and r["base_vias"], (name, r)
            n += r["bits"]
    return n


@test
def masks_are_the_same_every_time():
    a, b = chip(TINY, *MIXED), chip(TINY, *OTHER)
    same = lambda *f: len({open(x, "rb").read() for x in f}) == 1
    for t in ("1", "2", "3"):
        done(BURIN, "mask", a, "-o", path(f"threads-{t}.oas"), "--threads", t)
    assert same(*(path(f"threads-{t}.oas") for t in "123"))
    for kind in ("oas", "gds"):
        for which in ("base", "weights", "all"):
            for name, c in (("a", a), ("b", b)):
                done(BURIN, "mask", c, "-o", path(f"{name}-{which}.{kind}"), "--layers", which)
        assert same(path(f"a-base.{kind}"), path(f"b-base.{kind}")) and not same(path(f"a-weights.{kind}"), path(f"b-weights.{kind}"))
        assert check(a, path(f"a-weights.{kind}"))["base_vias"] == 0
        assert check(a, path(f"a-base.{kind}"), expect=1)["vias"] == 0
        r = check(a, path(f"b-all.{kind}"), expect=1)
        assert r["wrong"] > 1000 and not r["missing"] and re.search(r"codes3 word 0 bit \d+ \(q of layer 0 code, row 0, column \d+\): [01] in the mask", r["differences"][0]), r
        d = json.loads(done(BURIN, "diff", path(f"a-all.{kind}"), path(f"b-all.{kind}"), "--json"))
        assert d["changed_nodes"] > 1000 and d["changed_base_layers"] == 0, d
    d = json.loads(done(BURIN, "diff", path("a-all.oas"), path("a-all.gds"), "--json"))
    assert d["changed_nodes"] == 0 and d["changed_base_layers"] == 0 and d["base_layers"] > 10, d
    script = path("again.rb")  # KLayout and gdstk write it in their own ways: other names' order, other repetitions
    open(script, "w").write("l = RBA::Layout::new\nl.read($from)\nl.write($to)\n")
    for kind in ("oas", "gds"):
        done("klayout", "-zz", "-rd", f"from={path('a-all.oas')}", "-rd", f"to={path('again.' + kind)}", "-r", script, env={"QT_QPA_PLATFORM": "offscreen"})
        done(python_clients(), "-c", f"import gdstk; gdstk.read_oas({path('a-all.oas')!r}).write_{kind}({path('other.' + kind)!r})")
        for f in ("again", "other"):
            assert json.loads(done(ASAN, "mask", a, "--check", path(f"{f}.{kind}"), "--json", timeout=300))["equal"]
            d = json.loads(done(BURIN, "diff", path("a-all.oas"), path(f"{f}.{kind}"), "--json"))
            assert d["changed_nodes"] == 0 and d["changed_base_layers"] == 0, (f, kind, d)
    d = json.loads(done(BURIN, "diff", path("a-all.oas"), path("a-weights.oas"), "--json"))
    assert d["changed_nodes"] == 0 and d["changed_base_layers"] > 5, d


READER = r'''
import json, sys, gdstk, numpy as np
layout, folder, rows, columns = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
P = json.load(open("process/sky130.json"))
lib = (gdstk.read_oas if layout.endswith("oas") else gdstk.read_gds)(layout)
px, py, sub, gap, every, strap = *P["pitch"], P["rows"], P["gap"], P["strap"]["every"], P["strap"]["width"]
layer = tuple(P["layers"]["mcon"]["gds"])
top, = lib.top_level()
places, eights = [], {}  # x, y of every via of the weights, nm; those of each cell of eight
for column in top.references:
    if not column.cell.name.startswith("weights"):
        continue
    for ref in column.cell.references:
        if ref.cell.name not in eights:
            eights[ref.cell.name] = np.array([np.mean(q.points[:4], axis=0) for q in ref.cell.polygons if (q.layer, q.datatype) == layer]) * 1e3
        via = eights[ref.cell.name]
        at = (np.array(ref.repetition.get_offsets()) if ref.repetition.size else np.zeros((1, 2))) * 1e3 + np.array(ref.origin) * 1e3 + np.array(column.origin) * 1e3
        places.append(np.rint(at[:, None, :] + via[None, :, :]).astype(np.int64).reshape(-1, 2))
xy = np.concatenate(places)
assert len(np.unique(xy[:, 0] * 2**31 + xy[:, 1])) == len(xy)
width = strap * (1 + -(-columns // every)) + columns * px
Q = P["periphery"]
left = (sub // 8 + rows // sub) * Q["select"] + 9 * Q["gate"] + 3 * Q["rail"]
height = rows // sub * (sub * py + gap) - gap + Q["below"] + Q["above"]
step_x, step_y = left + width + P["bank"]["between"][0], -(-(height + P["bank"]["between"][1]) // py) * py
bx, by = xy[:, 0] // step_x, (xy[:, 1] + Q["below"]) // step_y
u, v = xy[:, 0] - bx * step_x, xy[:, 1] - by * step_y
segment = strap + every * px
c = (u // segment) * every + (u % segment - strap) // px
site = (u % segment - strap) % px
node = v // (sub * py + gap) * (sub + 1) + v % (sub * py + gap) // py
assert ((site == P["program"]["bit_line"]) | (site == P["program"]["ground"])).all() and (v % py == 0).all()
high = int(by.max()) + 1
bank = bx * high + by
nodes = rows // sub * (sub + 1)
state = np.full((int(bank.max()) + 1, nodes, columns), 9, np.uint8)
state[bank, node, c] = site == P["program"]["bit_line"]
assert len(xy) == state.size and state.max() == 1
word_lines = np.array([r // sub * (sub + 1) + r % sub for r in range(rows)])
bits = state[:, word_lines] ^ state[:, word_lines + 1]
b = n = 0
for name in ["codes2", "codes3", "codes4", "codes6", "codes8", "group_scales", "row_scales", "levels", "embed_codes", "embed_scales", "rotary_high", "rotary_low"]:
    try:
        lines = open(f"{folder}/rom/{name}.hex").read().split()
    except FileNotFoundError:
        continue
    image = np.array([np.unpackbits(np.frombuffer(bytes.fromhex(l)[::-1], np.uint8), bitorder="little") for l in lines])
    w = image.shape[1]
    slices, stride = -(-w // columns), min(w, columns)
    parts = columns // stride
    for first in range(0, len(image), rows * parts):
        for s in range(slices):
            for p in range(parts):
                want = image[first + p * rows:first + (p + 1) * rows, s * columns:(s + 1) * columns]
                got = bits[b, :want.shape[0], p * stride:p * stride + want.shape[1]]
                assert (want == got).all(), (name, b)
                n += want.size
            b += 1
assert b == len(bits), (b, len(bits))
print(n)
'''


@test
def masks_read_by_gdstk_are_the_rom_images():
    """A reader that shares nothing with burin: gdstk's geometry, the process description, the hexadecimal images of `burin rtl`."""
    c, n = chip(TINY, *MIXED), 0
    for rows, columns, kind, knobs in ((256, 512, "oas", ()), (64, 200, "gds", ("--lanes", "64", "--taps", "128"))):
        folder, f = path(f"roms-{columns}"), path(f"gdstk.{kind}")
        done(BURIN, "rtl", c, "-o", folder, *knobs)
        done(BURIN, "mask", c, "-o", f, "--rows", str(rows), "--columns", str(columns), *knobs)
        n += int(done(python_clients(), "-c", READER, f, folder, str(rows), str(columns), timeout=600))
    assert n > 2000000
    return n


def klayout(deck, layout, report, **variables):
    options = [x for k, v in dict(variables, input=os.path.abspath(layout), report=os.path.abspath(report)).items() for x in ("-rd", f"{k}={v}")]
    r = run("klayout", "-b", "-r", f"tools/{deck}", *options, timeout=900, env={"QT_QPA_PLATFORM": "offscreen"})
    assert r.returncode == 0, (r.stdout + r.stderr)[-2000:]
    return r.stdout


def rules(layout):
    """How often each rule is broken."""
    report = layout + ".lyrdb"
    klayout("sky130.drc", layout, report, cell="chip")
    broken = re.findall(r"<item>.*?<category>'?(.*?)'?</category>", open(report).read(), re.S)
    return {k: broken.count(k) for k in broken}


FAULT = r'''
import sys, gdstk
source, out, fault = sys.argv[1:]
lib = gdstk.read_gds(source)
chip = {c.name: c for c in lib.cells}
weights = chip["weights_0"]
at = lambda ref: (round(ref.origin[0], 3), round(ref.origin[1], 3))
refs = {at(r): r for r in weights.references}
x0 = min(x for x, y in refs)
row = lambda n: (x0, round(.43 * n, 3))
picks = sorted((r for r in chip["bank"].references if r.cell.name == "pick_group"), key=at)
def own(place):  # the eight vias there become the column's own
    ref = refs[place]
    weights.remove(ref)
    boxes = [gdstk.Polygon(q.points + [ref.origin], q.layer, q.datatype) for q in ref.cell.polygons]
    weights.add(*boxes)
    return boxes
if fault == "swapped rows":
    a, b = refs[row(10)], refs[row(11)]
    a.cell, b.cell = b.cell, a.cell
elif fault == "swapped groups":  # of the row decoder
    a, b = picks[2:4]
    a.origin, b.origin = (a.origin[0], b.origin[1]), (b.origin[0], a.origin[1])
elif fault != "none":
    boxes = own(row(10))
    b = boxes[3]
    if fault == "missing":
        weights.remove(b)
    elif fault == "extra":
        d = .37 if b.points[0][0] - x0 - 3 * .74 < .2 else -.37
        weights.add(b.copy().translate(d, 0))
    elif fault == "shifted":
        b.translate(0, .04)
    elif fault == "far":
        b.translate(0, .215)
    elif fault == "shrunk":
        b.scale(.8, center=sum(b.points) / 4)
used = {r.cell.name for c in lib.cells for r in c.references} | {"chip"}
lib.remove(*[c for c in lib.cells if c.name not in used])
lib.write_gds(out)
'''


@test
def masks_keep_the_rules_and_the_netlist():
    """DRC and LVS of banks in KLayout; each injected fault is found by the check that should find it."""
    c = chip(TINY, *MIXED)
    bank, net = path("bank.gds"), path("bank.spice")
    area = json.loads(done(BURIN, "mask", c, "--rows", "64", "--columns", "64", "--bank", "50", "-o", bank, "--spice", net, "--lef", path("bank.lef"), "--json"))
    assert area["cell_um2"] <= .345, area
    assert rules(bank) == {}
    compare = lambda layout, schematic: klayout("sky130.lvs", layout, layout + ".lvsdb", schematic=os.path.abspath(schematic))
    assert re.search(r"4864 transistors\s+EQUAL", compare(bank, net))  # 64 x 64 bits; 8 for each of 64 rows and 8 groups; 3 a column
    seams = path("seams.oas")  # straps within, a gap, a rest of columns
    done(BURIN, "mask", c, "--rows", "128", "--columns", "136", "--bank", "25", "-o", seams)
    assert rules(seams) == {}
    lines = open(net).read().split("\n")
    k = next(i for i, l in enumerate(lines) if l.startswith("Xb7_5 "))
    ends = lines[k].split()
    ends[1] = "BL[6]"
    open(path("other.spice"), "w").write("\n".join(lines[:k] + [" ".join(ends)] + lines[k + 1:]))
    assert "DIFFERENT" in compare(bank, path("other.spice"))
    swapped = {"LINE[3]": "LINE[4]", "LINE[4]": "LINE[3]"}  # pins' names alone
    open(path("swapped.spice"), "w").write(re.sub(r"LINE\[[34]\]", lambda m: swapped[m[0]], open(net).read()))
    assert "DIFFERENT" in compare(bank, path("swapped.spice"))
    found = {}
    for fault in ("none", "missing", "extra", "shifted", "far", "shrunk", "swapped rows", "swapped groups"):
        f = path(f"fault-{fault.replace(' ', '-')}.gds")
        done(python_clients(), "-c", FAULT, bank, f, fault)
        r = check(c, f, expect=int(fault != "none"))
        found[fault] = {k for k in ("missing", "doubled", "stray", "wrong", "base_wrong") if r[k]} | {rule.split()[0] for rule in (rules(f) if fault in ("shifted", "far", "shrunk") else ())}
        if fault in ("missing", "extra", "swapped rows", "swapped groups"):
            assert "DIFFERENT" in compare(f, net), fault
            assert rules(f) == {}, fault  # which is why reading back is needed
    assert found["none"] == set() and {"missing"} <= found["missing"] and {"doubled"} <= found["extra"] and {"stray", "missing", "ct.4"} <= found["shifted"], found
    assert {"stray", "missing", "ct.4"} <= found["far"] and {"stray", "missing", "ct.1"} <= found["shrunk"] and found["swapped rows"] == {"wrong"} and found["swapped groups"] == {"stray", "base_wrong"}, found
    return len(found) + 5


@test
def masks_of_a_bank_have_a_whole_abstract():
    lef, svg, lyp = (path("bank." + k) for k in ("lef", "svg", "lyp"))
    done(BURIN, "mask", chip(TINY, *MIXED), "--rows", "64", "--columns", "64", "--bank", "50", "--lef", lef, "--svg", svg, "--lyp", lyp, "--png", path("bank.png"))
    for name in ("bank", "corner", "cells"):
        data = open(path(f"bank-{name}.png"), "rb").read()
        assert data[:8] == b"\x89PNG\r\n\x1a\n" and int.from_bytes(data[16:20], "big") == 1500 and len(data) > 5000, name
    script = path("lef.rb")
    open(script, "w").write(f"""o = RBA::LoadLayoutOptions::new
o.lefdef_config.produce_pins = true
l = RBA::Layout::new
l.read("{lef}", o)
puts l.top_cells.map {{ |c| "#{{c.name}} #{{c.dbbox.width.round(3)}} x #{{c.dbbox.height.round(3)}}" }}
p = RBA::LayerProperties::new
v = RBA::LayoutView::new
v.load_layer_props("{lyp}")
puts v.begin_layers.current.source_layer
""")
    out = done("klayout", "-zz", "-r", script, env={"QT_QPA_PLATFORM": "offscreen"})
    assert "bank 96.71 x 35.47" in out, out
    text = open(lef).read()
    assert [len(re.findall(rf"PIN {pin}", text)) for pin in (r"Q\[", r"LINE\[", r"GROUP\[", r"SUB\[", "PRE", "VPWR", "VGND")] == [64, 8, 8, 1, 1, 1, 1]
    assert len(xml.dom.minidom.parse(svg).getElementsByTagName("rect")) > 300
    assert len(xml.dom.minidom.parse(lyp).getElementsByTagName("properties")) == 17


def refuses(f, pattern, *command):
    r = run(*command, timeout=120)
    assert r.returncode == 1 and re.search(pattern, r.stderr), f"{f}: exit {r.returncode}: expected /{pattern}/, found {r.stderr[-400:]}"
    assert "Sanitizer" not in r.stderr and "runtime error" not in r.stderr, r.stderr[-1500:]


@test
def masks_refuse_what_is_wrong():
    c = chip(TINY, *MIXED)
    small = ("--rows", "64", "--columns", "64", "--bank", "50")
    oas, whole = path("small.oas"), path("whole.oas")
    done(BURIN, "mask", c, *small, "-o", oas)
    done(BURIN, "mask", c, "-o", whole)
    good, processes = json.load(open("process/sky130.json")), []

    def process(**change):
        f = path(f"process-{len(processes)}.json")
        processes.append(f)
        json.dump(dict(good, **change), open(f, "w"))
        return "mask", c, "--process", f

    n = 0
    cells = lambda **change: process(cells=dict(good["cells"], **change))
    for pattern, command in (
            ("process 'gf180': expected .*sky130", ("mask", c, "--process", "gf180")), ("rows: expected a multiple of 64", ("mask", c, "--rows", "65")),
            ("columns: expected a multiple of 8", ("mask", c, "--columns", "12")), ("banks: expected some of the", ("mask", c, "--bank", "100000")),
            ("layers: expected all, base or weights", ("mask", c, "--layers", "x", "-o", path("x.oas"))), ("neither OASIS", ("mask", c, "--check", TINY)),
            ("gap: expected a multiple", process(gap=1000)), ("pitch: expected two numbers", process(pitch=[1])), ("layers: expected 1 to 64", process(layers={})),
            ("program: expected two places that differ", process(program=dict(good["program"], ground=185))), ("bit: expected a list", cells(bit=1)),
            ("bit: expected the name of one of", cells(bit=[["met9", 0, 0, 1, 1]])), ("x0 below x1", cells(bit=[["met1", 1, 0, 1, 1]])),
            ("pin_line: expected one box", cells(pin_line=[])), ("driver_um: expected a number", process(periphery=dict(good["periphery"], driver_um=0))),
            ("no box of the programming layer", cells(bit=[["mcon", 0, 0, 170, 170]])), ("banks: expected some of the", ("mask", chip(TINY, "--fast", "--bits", "all=2,head=6"), "--check", whole)),
            ("is a layout, .* is none", ("diff", c, oas)), ("no base in common", ("diff", oas, whole))):
        refuses(pattern, pattern, ASAN, *command)
        n += 1
    data = open(oas, "rb").read()
    for name, b, pattern in (("cut", data[:-1], "end record|too short"), ("flipped", data[:60] + bytes([data[60] ^ 1]) + data[61:], r"small|hostile"), ("empty", b"", "empty file"),
                             ("magic only", data[:13], "too short")):
        f = path("hostile.oas")
        open(f, "wb").write(b)
        refuses(name, pattern, ASAN, "mask", c, "--check", f)
        n += 1
    return n


@test
def mutated_layouts_never_crash():
    c = chip(TINY, *MIXED)
    n = 0
    for kind in ("oas", "gds"):
        f = path(f"fuzz.{kind}")
        done(BURIN, "mask", c, "--rows", "64", "--columns", "64", "--bank", "50", "-o", f)
        if kind == "oas":  # without its checksum, so that what is behind the scan meets the damage as well
            data = bytearray(open(f, "rb").read())
            data[-5:] = bytes(5)
            open(f, "wb").write(data)
            check(c, f)
        n += mutants(f, 300, 3000, lambda m: (ASAN, "mask", c, "--check", m))
    return n
