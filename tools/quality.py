#!/usr/bin/env python3
"""Weighs burin's chips against llama.cpp's quantisations of the same model, on the same text and positions, in one run.

    tools/need.sh peer
    build/peer/bin/python tools/quality.py MODEL.gguf TEXT [--chunks 40] [--bits '3.25;3.5;...'] [--types Q2_K,...]

Windows of 512 tokens from the start of the text, scored over the second half, as llama.cpp's perplexity tool does.  Each system
is measured against the float model: burin against its oracle (`burin eval --ref`), llama.cpp against itself with the weights
expanded to F32; the perplexities of the two float models are printed and must agree to 0.1 %.  llama.cpp quantises from that F32
file, without an importance matrix.  Bits count all that is read for a token: for llama.cpp every tensor, but not the embedding
where the head is a tensor of its own.

Writes doc/quality.json, doc/quality.svg and the table between the marks in doc/quality.md.
"""
import argparse, ctypes, json, math, os, re, subprocess, sys, tempfile

import gguf, llama_cpp, matplotlib, numpy as np
matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BURIN, CTX = os.path.join(ROOT, "build/burin"), 512
TYPES = ["Q2_K", "Q3_K_S", "Q3_K_M", "IQ4_XS", "Q4_0", "Q4_K_S", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"]
BITS = ["3.25", "3.5", "4.25", "5", "6.15"]


def requantise(source, out, kind):
    if os.path.exists(out):
        return out
    p = llama_cpp.llama_model_quantize_default_params()
    name = "LLAMA_FTYPE_ALL_F32" if kind == "F32" else "LLAMA_FTYPE_MOSTLY_" + kind
    p.nthread, p.ftype, p.allow_requantize = os.cpu_count(), getattr(llama_cpp, name), True
    assert llama_cpp.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(p)) == 0, f"llama.cpp does not make {kind}"
    return out


def bits_per_weight(path):
    tensors = gguf.GGUFReader(path).tensors
    own_head = any(t.name == "output.weight" for t in tensors)
    read = [t for t in tensors if not (own_head and t.name == "token_embd.weight")]
    return 8 * sum(int(t.n_bytes) for t in read) / sum(int(t.n_elements) for t in read)


class Peer:
    def __init__(self, path):
        self.m = llama_cpp.Llama(path, n_ctx=CTX, n_batch=CTX, logits_all=True, verbose=False, n_threads=os.cpu_count(), n_threads_batch=os.cpu_count())
        self.kl, self.nll, self.same = [], 0.0, 0

    def log_p(self, window):
        """Log probabilities of the scored positions, float64."""
        self.m.reset()
        self.m.eval(window)
        z = np.array(self.m.scores[CTX // 2:CTX - 1], np.float64)
        z -= z.max(1, keepdims=True)
        return z - np.log(np.exp(z).sum(1, keepdims=True))


def llama_rows(source, types, text, chunks, folder):
    base = Peer(requantise(source, f"{folder}/F32.gguf", "F32"))
    peers = {t: Peer(requantise(f"{folder}/F32.gguf", f"{folder}/{t}.gguf", t)) for t in types}
    bos = llama_cpp.llama_vocab_get_add_bos(llama_cpp.llama_model_get_vocab(base.m._model.model))
    ids = base.m.tokenize(open(text, "rb").read(), add_bos=bos, special=False)
    chunks = min(chunks, len(ids) // CTX)
    for c in range(chunks):
        window = ids[c * CTX:(c + 1) * CTX]
        if bos:
            window[0] = base.m.token_bos()
        target, scored = np.array(window[CTX // 2 + 1:]), np.arange(CTX - 1 - CTX // 2)
        p = base.log_p(window)
        base.nll -= p[scored, target].sum()
        for peer in peers.values():
            q = peer.log_p(window)
            peer.nll -= q[scored, target].sum()
            peer.kl += (np.exp(p) * (p - q)).sum(1).tolist()
            peer.same += int((p.argmax(1) == q.argmax(1)).sum())
        print(f"llama.cpp: window {c + 1} of {chunks}", file=sys.stderr)
    n = chunks * (CTX - 1 - CTX // 2)
    rows = [{"system": "llama.cpp", "name": t, "bits": bits_per_weight(f"{folder}/{t}.gguf"), "kl": float(np.mean(x.kl)), "p99": float(np.quantile(x.kl, .99)),
             "error": float(np.std(x.kl) / math.sqrt(n)), "top1": x.same / n, "ppl": math.exp(x.nll / n)} for t, x in peers.items()]
    return rows, math.exp(base.nll / n), chunks


def burin_rows(source, widths, text, chunks, folder):
    rows, ref = [], None
    for b in widths:
        chip = f"{folder}/{b}.chip"
        if not os.path.exists(chip):
            subprocess.run([BURIN, "cast", source, "-o", chip, "--bits", b], check=True, stdout=subprocess.DEVNULL)
        r = json.loads(subprocess.run([BURIN, "eval", chip, "--text", text, "--ref", source, "--chunks", str(chunks), "--json"],
                                      check=True, capture_output=True, text=True).stdout)
        rows.append({"system": "burin", "name": b, "bits": r["bits_per_weight"], "kl": r["kl_mean"], "p99": r["kl_p99"], "error": r["kl_error"], "top1": r["top1"], "ppl": r["ppl"]})
        ref = r["ref_ppl"]
    return rows, ref


def table(d):
    out = ["| system | setting | bits a weight | KL, nats a token | 99 % | same top token | perplexity |", "|---|---|---|---|---|---|---|"]
    for r in sorted(d["rows"], key=lambda r: (r["bits"], r["system"])):
        out.append(f"| {r['system']} | {r['name']} | {r['bits']:.2f} | {r['kl']:.4f} ± {r['error']:.4f} | {r['p99']:.3f} | {100 * r['top1']:.1f} % | {r['ppl']:.2f} |")
    return "\n".join(out)


def plot(d, path):
    plt.rcParams["svg.hashsalt"] = "burin"
    fig, ax = plt.subplots(figsize=(7, 4.5))
    for system, colour, mark in (("llama.cpp", "#c2571a", "s"), ("burin", "#1f5fa8", "o")):
        r = sorted((x for x in d["rows"] if x["system"] == system), key=lambda x: x["bits"])
        ax.plot([x["bits"] for x in r], [x["kl"] for x in r], mark, linestyle="-" if system == "burin" else "", color=colour, label=system)
        if system == "llama.cpp":
            for i, x in enumerate(r):
                ax.annotate(x["name"], (x["bits"], x["kl"]), textcoords="offset points", xytext=(6, 4 if i % 2 else -9), fontsize=7, color=colour)
    ax.set_yscale("log")
    ax.set_xlabel("bits a weight: all that is read for a token")
    ax.set_ylabel("KL to the float model, nats a token")
    ax.set_title(f"{d['model']}, {d['text']}, {d['chunks']} windows of {CTX}", fontsize=9)
    ax.grid(True, which="both", alpha=.25)
    ax.legend()
    fig.tight_layout()
    fig.savefig(path, metadata={"Date": None})


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("model")
    a.add_argument("text")
    a.add_argument("--chunks", type=int, default=40)
    a.add_argument("--bits", default=";".join(BITS), help="specifications of cast --bits, with ; between them")
    a.add_argument("--types", default=",".join(TYPES))
    a.add_argument("--out", default=os.path.join(ROOT, "doc"), help="folder of quality.json, quality.svg and, where it exists, quality.md")
    a.add_argument("--files", help="folder where chips and quantised models are looked for and kept (default: a temporary one)")
    o = a.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = o.files or temporary
        theirs, ref, chunks = llama_rows(o.model, o.types.split(","), o.text, o.chunks, folder)
        ours, own_ref = burin_rows(o.model, o.bits.split(";"), o.text, chunks, folder)
    print(f"perplexity of the float model: llama.cpp {ref:.4f}, burin's oracle {own_ref:.4f} ({100 * (own_ref / ref - 1):+.4f} %)")
    assert abs(own_ref / ref - 1) < 1e-3
    d = {"model": os.path.basename(o.model), "text": os.path.basename(o.text), "chunks": chunks, "float_ppl": {"llama.cpp": ref, "burin": own_ref},
         "llama_cpp_python": llama_cpp.__version__, "rows": theirs + ours}
    json.dump(d, open(f"{o.out}/quality.json", "w"), indent=1)
    plot(d, f"{o.out}/quality.svg")
    print(table(d))
    page = f"{o.out}/quality.md"
    if os.path.exists(page):
        s = open(page).read()
        s = re.sub(r"(<!-- table -->\n).*?(<!-- end -->)", lambda m: m[1] + table(d) + "\n" + m[2], s, flags=re.S)
        open(page, "w").write(s)


if __name__ == "__main__":
    main()
