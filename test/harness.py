"""What every test of run.py uses: running programs, chips cast once, the list of tests."""
import hashlib, os, subprocess, sys, tempfile, time

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


def wait_for(condition, seconds=60):
    """Until something is so; the time that takes decides nothing."""
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "waited too long"
        time.sleep(0.02)
