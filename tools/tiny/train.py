#!/usr/bin/env python3
"""Trains the tiny model on stories and writes it as GGUF.

    pip install jax numpy tokenizers
    python3 tools/tiny/train.py stories.txt models/tiny.gguf --seed 1 --steps 3500

Llama architecture: 5 layers of 64, 4 heads of 16 with 2 key-value heads, ffn 192, a byte-level BPE vocabulary of 512, tied
embedding, context 512.  AdamW, cosine schedule; weights are stored as F16.
"""
import argparse, functools, json, os, sys, time
import numpy as np
import jax, jax.numpy as jnp
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "test"))
import gguf as writer  # noqa: E402  test/gguf.py

L, D, F, H, KV, V, CTX, THETA, EPS = 5, 64, 192, 4, 2, 512, 512, 10000.0, 1e-5
HD = D // H
END = "<|end|>"


def tokenizer_of(lines):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=V, special_tokens=[END], show_progress=False,
                                                     initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    return t


def init(key):
    k = iter(jax.random.split(key, 64))
    m = lambda rows, cols, s=1.0: jax.random.normal(next(k), (rows, cols)) * s / np.sqrt(cols)
    back = 1 / np.sqrt(2 * L)
    return {"embd": jax.random.normal(next(k), (V, D)) * 0.05, "norm": jnp.ones(D), "layers": [
        {"an": jnp.ones(D), "q": m(H * HD, D), "k": m(KV * HD, D), "v": m(KV * HD, D), "o": m(D, H * HD, back),
         "fn": jnp.ones(D), "gate": m(F, D), "up": m(F, D), "down": m(D, F, back)} for _ in range(L)]}


def logits(p, x):
    B, T = x.shape
    a = np.arange(T)[:, None] * THETA ** (-np.arange(0, HD, 2) / HD)
    c, s = jnp.cos(a)[:, None], jnp.sin(a)[:, None]
    rope = lambda v: jnp.stack([v[..., 0::2] * c - v[..., 1::2] * s, v[..., 0::2] * s + v[..., 1::2] * c], -1).reshape(v.shape)
    rms = lambda v, g: v * jax.lax.rsqrt((v * v).mean(-1, keepdims=True) + EPS) * g
    mask = jnp.tril(jnp.ones((T, T), bool))
    h = p["embd"][x]
    for w in p["layers"]:
        n = rms(h, w["an"])
        q = rope((n @ w["q"].T).reshape(B, T, H, HD)).reshape(B, T, KV, H // KV, HD)
        k, v = rope((n @ w["k"].T).reshape(B, T, KV, HD)), (n @ w["v"].T).reshape(B, T, KV, HD)
        z = jnp.einsum("btkgd,bskd->bkgts", q, k) / np.sqrt(HD)
        a = jax.nn.softmax(jnp.where(mask, z, -1e30), -1)
        h = h + jnp.einsum("bkgts,bskd->btkgd", a, v).reshape(B, T, D) @ w["o"].T
        n = rms(h, w["fn"])
        h = h + (jax.nn.silu(n @ w["gate"].T) * (n @ w["up"].T)) @ w["down"].T
    return rms(h, p["norm"]) @ p["embd"].T


def loss_of(p, x):
    z = jax.nn.log_softmax(logits(p, x[:, :-1]))
    return -jnp.take_along_axis(z, x[:, 1:, None], -1).mean()


@functools.partial(jax.jit, donate_argnums=(0, 1, 2))
def update(p, m, v, step, rate, x):
    loss, g = jax.value_and_grad(loss_of)(p, x)
    norm = jnp.sqrt(sum((a * a).sum() for a in jax.tree_util.tree_leaves(g)))
    g = jax.tree_util.tree_map(lambda a: a / jnp.maximum(1, norm), g)
    m = jax.tree_util.tree_map(lambda a, b: 0.9 * a + 0.1 * b, m, g)
    v = jax.tree_util.tree_map(lambda a, b: 0.99 * a + 0.01 * b * b, v, g)
    def new(w, a, b):
        d = a / (1 - 0.9 ** step) / (jnp.sqrt(b / (1 - 0.99 ** step)) + 1e-8)
        return w - rate * (d + (0.05 * w if w.ndim > 1 else 0))
    return jax.tree_util.tree_map(new, p, m, v), m, v, loss


def export(path, p, tok, license_text):
    p = jax.tree_util.tree_map(np.asarray, p)
    vocab = sorted(tok.get_vocab().items(), key=lambda x: x[1])
    merges = [" ".join(x) if isinstance(x, list) else x for x in json.loads(tok.to_str())["model"]["merges"]]
    k = writer
    kvs = k.llama_kvs(L, D, F, H, KV, CTX, THETA)
    kvs[1] = k.kv("general.name", k.STR, "burin tiny")
    kvs += [k.kv("general.license", k.STR, license_text), k.kv("tokenizer.ggml.model", k.STR, "gpt2"),
            k.kv("tokenizer.ggml.pre", k.STR, "gpt-2"), k.kv("tokenizer.ggml.tokens", k.ARR, [x for x, _ in vocab], k.STR),
            k.kv("tokenizer.ggml.token_type", k.ARR, [3 if x == END else 1 for x, _ in vocab], k.I32),
            k.kv("tokenizer.ggml.merges", k.ARR, merges, k.STR), k.kv("tokenizer.ggml.bos_token_id", k.U32, 0),
            k.kv("tokenizer.ggml.eos_token_id", k.U32, 0), k.kv("tokenizer.ggml.add_bos_token", k.BOOL, True)]
    half = lambda w: w.astype(np.float16).tobytes()
    mat = lambda name, w: (name, [w.shape[1], w.shape[0]], "F16", half(w))
    vec = lambda name, w: (name, [w.shape[0]], "F32", w.astype(np.float32).tobytes())
    t = [mat("token_embd.weight", p["embd"]), vec("output_norm.weight", p["norm"])]
    for i, w in enumerate(p["layers"]):
        b = f"blk.{i}."
        t += [vec(b + "attn_norm.weight", w["an"]), mat(b + "attn_q.weight", w["q"]), mat(b + "attn_k.weight", w["k"]),
              mat(b + "attn_v.weight", w["v"]), mat(b + "attn_output.weight", w["o"]), vec(b + "ffn_norm.weight", w["fn"]),
              mat(b + "ffn_gate.weight", w["gate"]), mat(b + "ffn_up.weight", w["up"]), mat(b + "ffn_down.weight", w["down"])]
    writer.write(path, kvs, t)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("stories"); ap.add_argument("out")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--steps", type=int, default=3500)
    ap.add_argument("--batch", type=int, default=16)
    ap.add_argument("--length", type=int, default=257)
    ap.add_argument("--rate", type=float, default=6e-3)
    ap.add_argument("--license", default="Apache-2.0")
    a = ap.parse_args()
    lines = [x.strip() for x in open(a.stories, encoding="utf8")]
    lines = [x for x in lines if 80 < len(x) < 1200 and x.isascii() and not any(c in x for c in "{}[]<>|\\*_#()0123456789")]
    tok = tokenizer_of(lines)
    ids = np.concatenate([np.array([0] + e.ids, np.int32) for e in tok.encode_batch(lines)])  # each story begins with END
    held = len(ids) // 50
    train, test = ids[held:], ids[:held]
    print(f"{len(lines)} stories, {len(ids)} tokens", flush=True)
    rng, p = np.random.default_rng(a.seed), init(jax.random.PRNGKey(a.seed))
    m, v = (jax.tree_util.tree_map(jnp.zeros_like, p) for _ in range(2))
    check = jax.jit(loss_of)
    windows = np.stack([test[i:i + a.length] for i in range(0, len(test) - a.length, a.length)][:64])
    start = time.time()
    for step in range(1, a.steps + 1):
        at = rng.integers(0, len(train) - a.length, a.batch)
        x = np.stack([train[i:i + a.length] for i in at])
        rate = a.rate * min(1, step / 100) * (0.5 + 0.5 * np.cos(np.pi * step / a.steps))
        p, m, v, loss = update(p, m, v, float(step), float(rate), x)
        if step % 200 == 0:
            print(f"step {step}: loss {float(loss):.3f}, held-out {float(check(p, windows)):.3f}, {time.time() - start:.0f} s", flush=True)
    print(f"{step} steps, held-out loss {float(check(p, windows)):.4f}")
    export(a.out, p, tok, a.license)


main()
