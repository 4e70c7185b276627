#!/usr/bin/env python3
"""Speed beside llama.cpp: same shapes, same machine, same minutes.

    make bench                                   (tools/need.sh peer, then this script)
    build/peer/bin/python tools/bench.py [--shapes tiny,135m,1b,8b] [--rounds 3]

Weights are random on both sides: speed depends on shapes and widths, not on values.  Of each case both systems run in turn, round after
round, each with 1 thread, one a core and one a CPU; the best of each counts.  llama.cpp comes from PyPI, built here without OpenMP.
Writes doc/performance.json, doc/performance.svg and the table between the marks in doc/performance.md.
"""
import argparse, json, os, re, subprocess, tempfile, time

import gguf, llama_cpp, matplotlib, numpy as np
matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BURIN = os.path.join(ROOT, "build/burin")
CORES = {open(f"/sys/devices/system/cpu/cpu{c}/topology/thread_siblings_list").read() for c in os.sched_getaffinity(0)}
THREADS = sorted({1, len(CORES), len(os.sched_getaffinity(0))})
Q = gguf.GGMLQuantizationType
# name: layers, dim, ffn, heads, kv_heads, head_dim, vocab, context
SHAPES = {"tiny": ("stories-260k", 5, 64, 192, 8, 4, 8, 512, 512), "135m": ("smollm2-135m", 30, 576, 1536, 9, 3, 64, 49152, 8192),
          "1b": ("llama-3.2-1b", 16, 2048, 8192, 32, 8, 64, 128256, 8192), "8b": ("llama-3.1-8b", 32, 4096, 14336, 32, 8, 128, 128256, 8192)}
# shape, burin's bits, llama.cpp's type, work, its size (depth of decode, tokens of prefill, sessions of batch), least ratio asked
CASES = [("tiny", 4.25, "Q4_0", "decode", 0, 10), ("135m", 3.25, "Q4_0", "decode", 0, 4), ("135m", 3.5, "Q4_0", "decode", 0, 4),
         ("135m", 4.25, "Q4_0", "decode", 0, None), ("135m", 3.5, "Q4_0", "decode", 1024, None), ("135m", 3.5, "Q4_0", "decode", 4096, 3),
         ("135m", 4.25, "Q4_0", "prefill", 512, None), ("135m", 4.25, "Q4_0", "prefill", 4096, None), ("135m", 4.25, "Q4_0", "batch", 8, None),
         ("1b", 5.0, "Q4_0", "decode", 0, 1.8), ("1b", 4.25, "Q4_0", "decode", 0, None), ("1b", 3.25, "Q4_0", "decode", 0, 2.4),
         ("1b", 4.25, "Q4_0", "decode", 1024, None), ("1b", 4.25, "Q4_0", "prefill", 512, 2.5), ("1b", 4.25, "Q4_0", "batch", 4, None),
         ("1b", 4.25, "Q4_0", "batch", 8, None), ("1b", 4.25, "Q4_0", "batch", 16, None), ("8b", 3.5, "Q4_K", "decode", 0, 2.2)]
STEPS = {"tiny": 128, "135m": 64, "1b": 16, "8b": 6}


def random_tensor(rows, cols, kind, random):
    """Blocks of random codes with small scales."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    raw = random.integers(0, 256, (rows, cols // block, size), dtype=np.uint8)
    scales = {Q.Q4_0: [0], Q.Q8_0: [0], Q.Q4_K: [0, 2], Q.Q6_K: [208]}[kind]
    for at in scales:
        raw[:, :, at:at + 2] = np.frombuffer(np.float16(2e-3).tobytes(), np.uint8)
    return raw.reshape(rows, -1)


def peer_file(shape, kind, folder):
    """A GGUF with llama.cpp's own choice of types: body `kind`, the head Q6_K (Q8_0 where columns do not allow it)."""
    name, layers, dim, ffn, heads, kv, hd, vocab, context = SHAPES[shape]
    path = f"{folder}/{name}-{kind}.gguf"
    if os.path.exists(path):
        return path
    random, w = np.random.default_rng(1), gguf.GGUFWriter(path, "llama", use_temp_file=False)
    w.add_context_length(context), w.add_embedding_length(dim), w.add_block_count(layers), w.add_feed_forward_length(ffn)
    w.add_head_count(heads), w.add_head_count_kv(kv), w.add_key_length(hd), w.add_value_length(hd), w.add_rope_dimension_count(hd)
    w.add_layer_norm_rms_eps(1e-5), w.add_vocab_size(vocab), w.add_rope_freq_base(10000.0)
    w.add_tokenizer_model("llama"), w.add_token_list([f"t{i}" for i in range(vocab)]), w.add_token_scores([0.0] * vocab)
    w.add_token_types([1] * vocab)
    body = getattr(Q, kind)
    fit = lambda t, cols: t if cols % gguf.GGML_QUANT_SIZES[t][0] == 0 else Q.Q8_0 if cols % 32 == 0 else Q.F32  # noqa: E731

    def add(n, rows, cols, t):
        t = fit(t, cols)
        w.add_tensor(n, random_tensor(rows, cols, t, random), raw_dtype=t)
    add("token_embd.weight", vocab, dim, Q.Q6_K)
    for i in range(layers):
        b = f"blk.{i}."
        for n, rows, cols in (("attn_q", heads * hd, dim), ("attn_k", kv * hd, dim), ("attn_v", kv * hd, dim), ("attn_output", dim, heads * hd),
                              ("ffn_gate", ffn, dim), ("ffn_up", ffn, dim), ("ffn_down", dim, ffn)):
            add(b + n + ".weight", rows, cols, body)
        for n in ("attn_norm", "ffn_norm"):
            w.add_tensor(f"{b}{n}.weight", np.ones(dim, np.float32))
    w.add_tensor("output_norm.weight", np.ones(dim, np.float32))
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()
    return path


class Peer:
    def __init__(self, path):
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        assert self.model, path
        t = gguf.GGUFReader(path).tensors  # tied: the embedding is the head
        self.bits = 8 * sum(int(x.n_bytes) for x in t) / sum(int(x.n_elements) for x in t)

    def close(self):
        llama_cpp.llama_model_free(self.model)

    def run(self, work, size, steps, threads):
        """Tokens a second."""
        p = llama_cpp.llama_context_default_params()
        sessions = size if work == "batch" else 1
        depth = size if work == "decode" else 0
        p.n_ctx = 256 * ((max(size if work == "prefill" else 0, (depth + steps + 8) * sessions) + 255) // 256)
        p.n_batch = p.n_ubatch = 512
        p.n_seq_max, p.n_threads, p.n_threads_batch = sessions, threads, threads
        c = llama_cpp.llama_init_from_model(self.model, p)
        assert c
        b = llama_cpp.llama_batch_init(512, 0, sessions)

        def feed(tokens):  # (position, sequence), logits of the last or of all
            b.n_tokens = len(tokens)
            for i, (pos, seq) in enumerate(tokens):
                b.token[i], b.pos[i], b.n_seq_id[i] = (pos * 7919 + 11) % 500, pos, 1
                b.seq_id[i][0] = seq
                b.logits[i] = sessions > 1 or i == len(tokens) - 1
            assert llama_cpp.llama_decode(c, b) == 0
            llama_cpp.llama_synchronize(c)

        def prefill(n):
            for at in range(0, n, 512):
                feed([(i, 0) for i in range(at, min(n, at + 512))])
        try:
            if work == "prefill":
                feed([(i, 0) for i in range(16)])  # warm
                llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(c), True)
                start = time.perf_counter()
                prefill(size)
                return size / (time.perf_counter() - start)
            prefill(depth)
            for i in range(4):
                feed([(depth + i, s) for s in range(sessions)])
            start = time.perf_counter()
            for i in range(4, 4 + steps):
                feed([(depth + i, s) for s in range(sessions)])
            return steps * sessions / (time.perf_counter() - start)
        finally:
            llama_cpp.llama_batch_free(b)
            llama_cpp.llama_free(c)


def burin_run(shape, bits, work, size, steps, threads):
    n = {"prefill": ["-p", size, "-n", 0], "decode": ["-p", 0, "-n", steps, "-d", size], "batch": ["-p", 0, "-n", steps, "-b", size]}[work]
    command = [BURIN, "bench", "--synthetic", SHAPES[shape][0], "--bits", bits, "-t", threads, "-r", 1, "--json", *n]
    r = subprocess.run([str(x) for x in command], check=True, capture_output=True, text=True)
    j = json.loads(r.stdout)
    return j["prefill_tps" if work == "prefill" else "decode_tps"], j


def measure(case, rounds, folder):
    shape, bits, kind, work, size, asked = case
    peer = Peer(peer_file(shape, kind, folder))
    row = {"shape": SHAPES[shape][0], "bits": bits, "work": work, "size": size, "peer": kind, "peer_bits": round(peer.bits, 2), "asked": asked, "burin": 0,
           "llama.cpp": 0, "read_gbps": 0}
    for _ in range(rounds):
        for t in THREADS:
            tps, j = burin_run(shape, bits, work, size, STEPS[shape], t)
            row["read_gbps"] = max(row["read_gbps"], j["read_gbps"])
            if tps > row["burin"]:
                row.update(burin=tps, burin_threads=t, bytes=j["bytes_per_token"])
            tps = peer.run(work, size, STEPS[shape], t)
            if tps > row["llama.cpp"]:
                row.update({"llama.cpp": tps, "llama.cpp_threads": t})
    peer.close()
    row["ratio"] = row["burin"] / row["llama.cpp"]
    if work == "decode":
        row["share"] = row["burin"] * row["bytes"] / row["read_gbps"] / 1e9
    print(f"{row['shape']:14} {bits:5} {work:8}{size:5}  burin {row['burin']:10.1f}  llama.cpp {kind} {row['llama.cpp']:10.1f}  {row['ratio']:5.2f}x"
          + (f"  asked {asked}x" if asked else ""), flush=True)
    return row


def table(rows, about):
    lines = [f"Measured {about['date']} on {about['cpu']}, {about['cores']} cores; llama.cpp of llama-cpp-python {about['peer']}.", "",
             "| shape | bits | work | burin tokens/s | of the read bandwidth | llama.cpp | its bits | tokens/s | ratio | asked |", "|---|---|---|---|---|---|---|---|---|---|"]
    names = {"decode": "decode at depth {}", "prefill": "prefill {}", "batch": "decode, {} sessions"}
    for r in rows:
        share = f"{100 * r['share']:.0f} %" if "share" in r and r["shape"] != "stories-260k" else "-"
        lines.append(f"| {r['shape']} | {r['bits']} | {names[r['work']].format(r['size'])} | {r['burin']:,.0f} | {share} | {r['peer']} | {r['peer_bits']} "
                     f"| {r['llama.cpp']:,.0f} | {r['ratio']:.2f} | {r['asked'] or '-'} |")
    return "\n".join(lines)


def plot(rows, path):
    plt.rcParams.update({"svg.hashsalt": "burin", "font.size": 9})
    fig, ax = plt.subplots(figsize=(8, 0.32 * len(rows) + 1))
    y = range(len(rows), 0, -1)
    ax.barh(list(y), [r["ratio"] for r in rows], color="#3465a4", height=0.65)
    ax.axvline(1, color="#888", linewidth=1)
    for at, r in zip(y, rows):
        ax.text(max(r["ratio"], r["asked"] or 0), at, f" {r['ratio']:.1f}", va="center")
        if r["asked"]:
            ax.plot([r["asked"]] * 2, [at - 0.4, at + 0.4], color="#cc0000", linewidth=1.5)
    ax.set_yticks(list(y), [f"{r['shape']} {r['bits']} bits, {r['work']} {r['size']}" for r in rows])
    ax.set_xlabel("tokens a second over llama.cpp's (red: what is asked for)")
    ax.margins(x=0.1)
    fig.tight_layout()
    fig.savefig(path, metadata={"Date": None})


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--shapes", default="tiny,135m,1b,8b")
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--files", help="folder that keeps llama.cpp's models")
    o = a.parse_args()
    llama_cpp.llama_backend_init()
    quiet = llama_cpp.llama_log_callback(lambda *x: None)
    llama_cpp.llama_log_set(quiet, None)
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "this CPU")
    about = {"date": time.strftime("%Y-%m-%d"), "cpu": cpu, "cores": os.cpu_count(), "peer": llama_cpp.__version__}
    with tempfile.TemporaryDirectory() as d:
        folder = o.files or d
        os.makedirs(folder, exist_ok=True)
        rows = [measure(c, o.rounds, folder) for c in CASES if c[0] in o.shapes.split(",")]
    if o.shapes != a.get_default("shapes"):
        return
    json.dump({"about": about, "rows": rows}, open(f"{ROOT}/doc/performance.json", "w"), indent=1)
    plot(rows, f"{ROOT}/doc/performance.svg")
    doc = f"{ROOT}/doc/performance.md"
    text = open(doc).read()
    text = re.sub(r"(<!-- table -->\n).*?(\n<!-- end -->)", lambda m: m[1] + table(rows, about) + m[2], text, flags=re.S)
    open(doc, "w").write(text)


main()
