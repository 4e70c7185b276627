"""The plan: figures recomputed from the facts it prints, facts perturbed, checks within their bands, the page in a browser; diff."""
import json, math, os, re, shutil, struct, time
from harness import BURIN, TINY, Skip, chip, done, path, run, test
import serve

SHAPE = ("plan", "--shape", "llama-3.1-8b", "--ctx", "1024", "--position", "1000", "--die-limit", "815")


def plan(*options, shape=SHAPE):
    return json.loads(done(BURIN, *shape, *options, "--json"))


@test
def plan_figures_follow_from_its_facts():
    """By hand, from the JSON alone: money, yield, density, speed, power; cycles from burin rtl."""
    p = plan()
    v = {k: x["nominal"] for k, x in p.items() if isinstance(x, dict) and "nominal" in x}
    f = {x["name"]: x["nominal"] for x in p["facts"]}
    k = p["knobs"]
    near = lambda a, b: abs(a - b) <= 1e-6 * max(abs(a), abs(b))
    cycles = json.loads(done(BURIN, "rtl", "--shape", "llama-3.1-8b", "--size", "n6", "--position", "1000", *(x for n in k for x in (f"--{n}", str(k[n]))), "--json"))["cycles"]
    a, n = v["die_mm2"], 0
    murphy = lambda area: ((1 - math.exp(-area / 100 * f["defects"])) / (area / 100 * f["defects"])) ** 2
    dies = math.pi * 300 ** 2 / 4 / a - math.pi * 300 / math.sqrt(2 * a)
    array = (v["rom_mm2"] + v["lanes_mm2"] + v["sram_mm2"]) / a
    good = murphy(a * (1 - array * f["defects in the array that spares mend"]))
    life = v["tokens_per_second"] * 3600 * 8766 * f["years in use"] * f["share of time that tokens are asked for"] / 1e6
    words = -(-128256 // k["vec"])  # of logits
    vectors = 32 * (4096 + 2 * 4096 + 2 * 1024 + 2 * 14336 + words * k["vec"] + k["heads"] * 4 * 1024)
    parts = ("rom", "lanes", "wires", "clock", "attention", "vector", "link")
    for name, mine, theirs in (
            ("cycles", cycles, v["cycles_rtl"]), ("cycles", v["cycles_rtl"] + v["cycles_wire"], v["cycles_per_token"]),
            ("speed", v["clock_hz"] / v["cycles_per_token"], v["tokens_per_second"]), ("dies", dies, v["dies_per_wafer"]), ("yield", murphy(a), v["yield"]),
            ("repaired", good, v["yield_repaired"]), ("die cost", f["wafer, 300 mm"] / dies / good, v["usd_per_die"]),
            ("chip cost", v["usd_per_die"] + f["package and test"], v["usd_per_chip"]),
            ("energy", sum(v[x + "_joules"] for x in parts) * f["dynamic power over the sum of counted events"], v["dynamic_joules"]),
            ("power", v["tokens_per_second"] * v["dynamic_joules"] + v["static_watts"], v["watts"]), ("tokens/J", v["tokens_per_second"] / v["watts"], v["tokens_per_joule"]),
            ("clock", 1e12 / (v["path_ns"] * 1e3 * f["delay of an inverter that drives four"] / f["delay of an inverter that drives four, 180 nm"]
                              * (1 + f["set-up, skew, variation and wires within a block"])), v["clock_hz"]),
            ("mtok", sum(v["mtok_" + x] for x in ("silicon", "system", "nre", "power", "facility", "operations")), v["usd_per_mtok"]),
            ("silicon", v["usd_per_chip"] / life, v["mtok_silicon"]), ("nre", v["nre_usd"] / f["chips of one model"] / life, v["mtok_nre"]),
            ("sram", (1024 * 32 * 8 * 2 * (128 * 8 + 16) + vectors) * f["6T SRAM cell"] / 1e6 / f["SRAM macro efficiency"], v["sram_mm2"])):
        assert near(mine, theirs), (name, mine, theirs)
        n += 1
    for key, x in p.items():
        if isinstance(x, dict) and "nominal" in x:
            assert x["class"] == "derived" and x["source"] and x["low"] <= x["high"], (key, x)
            n += 1
    for x in p["facts"]:
        assert x["low"] <= x["nominal"] <= x["high"] and x["source"] and x["class"] in ("measured", "published", "derived", "assumed", "fitted"), x
        n += 1
    assert v["die_mm2"] <= 815 and p["chips"] == 1
    return n


@test
def plan_outputs_move_with_their_facts():
    base = {k: x["nominal"] for k, x in plan().items() if isinstance(x, dict) and "nominal" in x}
    knobs = plan()["knobs"]
    fixed = SHAPE + tuple(x for n in knobs for x in (f"--{n}", str(knobs[n])) if n != "ctx")
    moves = {"wafer, 300 mm=20000": ({"usd_per_die": 1, "usd_per_chip": 1, "usd_per_mtok": 1}, ("tokens_per_second", "watts", "die_mm2")),
             "delay of an inverter that drives four=4": ({"tokens_per_second": 1, "clock_hz": 1, "watts": 1}, ("die_mm2", "cycles_rtl", "usd_per_die")),
             "ROM read=0.1": ({"rom_joules": 1, "watts": 1, "tokens_per_joule": -1}, ("die_mm2", "usd_per_die", "clock_hz")),
             "ROM bits, bare array=120": ({"rom_mm2": -1, "die_mm2": -1, "yield": 1, "usd_per_die": -1}, ("cycles_rtl", "clock_hz", "rom_joules")),
             "electricity=0.3": ({"mtok_power": 1, "usd_per_mtok": 1}, ("watts", "usd_per_chip", "mtok_silicon")),
             "chips of one model=1000000": ({"mtok_nre": -1, "usd_per_mtok": -1}, ("nre_usd", "watts"))}
    n = 0
    for fact, (moved, still) in moves.items():
        v = {k: x["nominal"] for k, x in plan("--set", fact, shape=fixed).items() if isinstance(x, dict) and "nominal" in x}
        for key, sign in moved.items():
            assert (v[key] - base[key]) * sign > 1e-9 * abs(base[key]), (fact, key, base[key], v[key])
            n += 1
        for key in still:
            assert v[key] == base[key], (fact, key)
            n += 1
    return n


@test
def plan_meets_what_is_published():
    """Checks that do not depend on this design's own choices lie within their bands; the others say why they do not."""
    checks = plan()["checks"]
    within = lambda c: c["published_low"] * 0.98 <= c["predicted"] <= c["published_high"] * 1.02
    for c in checks[:6]:
        assert within(c), c
    for c in checks:
        assert c["source"] and (within(c) or c["note"]), c
    assert len(checks) == 19
    return len(checks) + 6


@test
def plan_is_quick_and_says_what_is_wrong():
    for options, limit in ((SHAPE, 1), (SHAPE + ("--optimise", "cost"), 30), (("plan", "--shape", "llama-3.1-405b"), 30), (("plan", chip(TINY), "--node", "N28"), 1)):
        start = time.time()
        done(BURIN, *options)
        assert time.time() - start < limit, (options, time.time() - start)
    assert "chips in N6" in done(BURIN, "plan", "--shape", "llama-3.1-70b")
    # a mixture: what is read for a token is far less than what is held, and a mixture of one is the dense model
    moe = json.loads(done(BURIN, "plan", "--shape", "mixtral-8x7b", "--json", timeout=60))
    assert 46e9 < moe["experts"]["weights_held"] < 47e9 and 12e9 < moe["experts"]["weights_read"] < 13.5e9 and moe["cycles_experts"]["nominal"] > 1000, moe["experts"]
    size = ("--lanes", "1024", "--taps", "256", "--ctx", "1024")
    one, all_of = (plan(*size, "--experts", n, "--active", n) for n in ("1", "3"))
    assert one["cycles_experts"]["nominal"] == 0 and one["experts"]["weights_held"] == one["experts"]["weights_read"] < all_of["experts"]["weights_read"] == all_of["experts"]["weights_held"]
    slow, thrifty = plan("--optimise", "speed"), plan("--optimise", "energy")
    assert slow["tokens_per_second"]["nominal"] > thrifty["tokens_per_second"]["nominal"] and slow["tokens_per_joule"]["nominal"] < thrifty["tokens_per_joule"]["nominal"]
    for options, what in ((("--node", "N2"), "N2"), (("--set", "x=1"), "x"), (("--set", "wafer, 300 mm"), "fact=number"), (("--optimise", "beauty"), "beauty"), (("--bits", "9"), "bits"), (("--experts", "2", "--active", "3"), "experts"),
                          (("--chips", "1", "--die-limit", "100"), "100"), (("--position", "5000"), "position"), (("--lanes", "7"), "lanes"), (("--html", "/nonexistent/x"), "nonexistent")):
        r = run(BURIN, *SHAPE, *options)
        assert r.returncode == 1 and what in r.stderr, (options, r.stderr)
    assert run(BURIN, "plan").returncode == 2 and run(BURIN, "plan", TINY, "--shape", "llama-3.1-8b").returncode == 2
    table = {(m["module"], m["parameters"]): m for m in json.load(open("doc/synthesis.json"))["modules"]}
    rows = re.findall(r'\{"(burin_\w+)", "([^"]*)", (\d+), ([\d.]+)\}', open("src/plan/facts.c").read())
    assert len(rows) == len(table) and all(table[a, b]["area_um2"] == int(c) and abs(table[a, b]["path_ns"] - float(d)) < 1e-9 for a, b, c, d in rows)
    return 19 + len(rows)


@test
def plan_page_stands_in_a_browser():
    browser = shutil.which("chromium")
    if not browser:
        raise Skip("chromium is not installed")
    page = path("plan.html")
    done(BURIN, *SHAPE, "--html", page)
    n = serve.node("plan.mjs", "file://" + page, browser, os.path.dirname(page))
    done(BURIN, "plan", chip(TINY, "--bits", "4"), "--node", "N28", "--html", page)
    return n + serve.node("plan.mjs", "file://" + page, browser, os.path.dirname(page))


@test
def diff_counts_what_differs():
    a = chip(TINY, "--bits", "all=4", "--fast")
    b = chip(TINY, "--bits", "all=4", "--fast", "--seed", "2")
    same, d = (json.loads(done(BURIN, "diff", a, x, "--json")) for x in (a, b))
    assert same["changed_codes"] == 0 and same["respin_usd"]["nominal"] == 0 and same["codes"] == d["codes"]
    assert 0.5 < d["changed_codes"] / d["codes"] <= 1 and d["changed_bits"] >= d["changed_codes"] and d["respin_usd"]["nominal"] > 0
    assert json.loads(done(BURIN, "diff", b, a, "--json"))["changed_bits"] == d["changed_bits"]
    for other, what in ((chip(TINY, "--bits", "all=3", "--fast"), "bits"), ("/nonexistent", "nonexistent")):
        r = run(BURIN, "diff", a, other)
        assert r.returncode == 1 and what in r.stderr, r.stderr
    return 8
