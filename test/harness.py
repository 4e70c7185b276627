"""What every test of run.py uses: running programs, chips cast once, the list of tests."""
import concurrent.futures, hashlib, json, os, random, re, subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.chdir(ROOT)

BURIN, ASAN = "build/burin", "build/asan/burin"
TINY = "models/tiny.gguf"
WORK = tempfile.mkdtemp(prefix="burin-check-")
os.environ["BURIN_CACHE"] = os.path.join(WORK, "cache")
PATTERN = sys.argv[1] if len(sys.argv) > 1 else ""
CI = os.environ.get("CI") == "true"
counts = {"passed": 0, "failed": 0, "skipped": 0}
tests = []


class Skip(Exception):
    pass


def test(f):
    tests.append(f)
    return f


def run(*command, stdin=None, timeout=300, env=None, binary=False):
    e = dict(os.environ, **(env or {}))
    return subprocess.run(command, input=stdin, capture_output=True, timeout=timeout, env=e, text=not binary,
                          **({} if binary else {"encoding": "utf8", "errors": "replace"}))


def done(*command, **k):
    r = run(*command, **k)
    assert r.returncode == 0, f"{' '.join(command)}: exit {r.returncode}\n{r.stderr[-2000:]}"
    return r.stdout


def path(name):
    return os.path.join(WORK, name)


def chip(model=TINY, *options):
    """A chip cast once for all tests that ask for the same."""
    name = path("chip-" + hashlib.sha256(" ".join((model,) + options).encode()).hexdigest()[:12])
    if not os.path.exists(name):
        done(BURIN, "cast", model, "-o", name, *options, timeout=900)
    return name


def smollm2():
    r = run("tools/get-smollm2.sh", env={"BURIN_CACHE": os.path.expanduser("~/.cache/burin")}, timeout=600)
    assert r.returncode == 0, r.stderr
    return r.stdout.strip()


def quality(model, chunks, *options):
    """What `burin eval` says of a chip beside its source on text of this repository."""
    text = path("quality.txt")
    open(text, "w").write(re.sub(r"\s+", " ", open("LICENSE").read() + open("doc/arithmetic.md").read())[:14000])
    return json.loads(done(BURIN, "eval", chip(model, *options), "--text", text, "--ref", model, "--ctx", "256", "--chunks", str(chunks), "--json", timeout=900))


def wait_for(condition, seconds=60):
    """Until something is so; the time that takes decides nothing."""
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "waited too long"
        time.sleep(0.02)


# ---- damaged files ----

def mutate(rng, data, focus):
    b = bytearray(data)
    kind = rng.randrange(5)
    if kind == 0:
        del b[rng.randrange(len(b)):]
    elif kind == 1:
        at = rng.randrange(min(focus, len(b)))
        b[at:at + rng.choice((1, 4, 8))] = rng.choice((b"\xff" * 8, b"\0" * 8, rng.randbytes(8)))[:rng.choice((1, 4, 8))]
    elif kind == 2:
        for _ in range(rng.randrange(1, 6)):
            b[rng.randrange(len(b))] ^= 1 << rng.randrange(8)
    elif kind == 3:
        a, c = rng.randrange(min(focus, len(b))), rng.randrange(len(b))
        n = rng.randrange(1, 64)
        b[a:a + n] = b[c:c + n]
    else:
        at = rng.randrange(min(focus, len(b)))
        b[at:at] = rng.randbytes(rng.randrange(1, 16))
    return bytes(b)


def survives(job):
    f, command = job
    try:
        r = run(*command, timeout=60, env={"BURIN_CACHE": f + ".cache"})
    except subprocess.TimeoutExpired:
        return f"{f}: no end after 60 s"
    if r.returncode not in (0, 1) or "Sanitizer" in r.stderr or "runtime error" in r.stderr:
        return f"{f}: exit {r.returncode}: {r.stderr[-1500:]}"
    if r.returncode == 1 and not re.search(r"burin \w+: .{10,}", r.stderr):
        return f"{f}: no clear error: {r.stderr[-300:]}"
    return None


def mutants(good, count, focus, command):
    rng = random.Random(good)
    data = open(good, "rb").read()
    jobs = []
    for i in range(count):
        f = path(f"mutant-{os.path.basename(good)}-{i}")
        open(f, "wb").write(mutate(rng, data, focus))
        jobs.append((f, command(f)))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        bad = [x for x in pool.map(survives, jobs) if x]
    assert not bad, f"{len(bad)} of {count}: {bad[0]}"
    for f, _ in jobs:
        os.remove(f)
    return count
