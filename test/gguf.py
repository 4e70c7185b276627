"""Writes GGUF files for tests: whole models of any small shape, and vocabularies of published tokenizers.

Only the standard library.  Random weights come from a seed; blocks of quantised types get plausible scales.
"""
import json, math, random, struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 = range(13)
TYPES = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q5_0": (6, 32, 22),
         "Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34), "Q2_K": (10, 256, 84), "Q3_K": (11, 256, 110),
         "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210), "BF16": (30, 1, 2),
         "TQ1_0": (34, 256, 54), "TQ2_0": (35, 256, 66)}
# offset and value of the f16 scales of a block: weights of a few hundredths
SCALES = {"Q4_0": [(0, .008)], "Q4_1": [(0, .008), (2, -.06)], "Q5_0": [(0, .004)], "Q5_1": [(0, .004), (2, -.06)],
          "Q8_0": [(0, .0006)], "Q2_K": [(80, .003), (82, .003)], "Q3_K": [(108, .001)],
          "Q4_K": [(0, .0002), (2, .001)], "Q5_K": [(0, .0001), (2, .001)], "Q6_K": [(208, .00004)]}


def s(x):
    b = x.encode() if isinstance(x, str) else x
    return struct.pack("<Q", len(b)) + b


def kv(key, kind, value, element=None):
    one = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<B", U64: "<Q", I64: "<q", F64: "<d"}
    out = s(key) + struct.pack("<I", kind)
    if kind == STR:
        return out + s(value)
    if kind == ARR:
        out += struct.pack("<IQ", element, len(value))
        return out + b"".join(s(v) if element == STR else struct.pack(one[element], v) for v in value)
    return out + struct.pack(one[kind], value)


def ternary_block(kind, digit, scale):
    """256 digits 0 1 2 for -1 0 1."""
    if kind == "TQ2_0":
        codes = bytes(sum(digit[h * 128 + k * 32 + i] << 2 * k for k in range(4)) for h in (0, 1) for i in range(32))
    else:  # five digits a byte, four in the last four bytes
        pack = lambda at, stride, i, n: (sum(digit[at + k * stride + i] * 3 ** (4 - k) for k in range(n)) * 256 + 242) // 243
        codes = bytes([pack(0, 32, i, 5) for i in range(32)] + [pack(160, 16, i, 5) for i in range(16)] + [pack(240, 4, i, 4) for i in range(4)])
    return codes + struct.pack("<e", scale)


def block_data(kind, n, rng):
    """n weights of a type."""
    _, per, size = TYPES[kind]
    if kind == "F32":
        return b"".join(struct.pack("<f", rng.gauss(0, .05)) for _ in range(n))
    if kind == "F16":
        return b"".join(struct.pack("<e", rng.gauss(0, .05)) for _ in range(n))
    if kind == "BF16":
        return b"".join(struct.pack("<f", rng.gauss(0, .05))[2:] for _ in range(n))
    if kind[0] == "T":
        return b"".join(ternary_block(kind, [rng.randrange(3) for _ in range(256)], .03) for _ in range(n // 256))
    out = bytearray(rng.randbytes(n // per * size))
    for i in range(0, len(out), size):
        for at, v in SCALES[kind]:
            out[i + at:i + at + 2] = struct.pack("<e", v)
    return bytes(out)


def tensor_bytes(kind, n):
    return n // TYPES[kind][1] * TYPES[kind][2]


def write(path, kvs, tensors, version=3, alignment=32):
    """tensors: (name, dims, type name, bytes)."""
    head, data = b"", b""
    for name, dims, kind, raw in tensors:
        data += b"\0" * (-len(data) % alignment)
        head += s(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims)
        head += struct.pack("<IQ", TYPES[kind][0], len(data))
        data += raw
    out = struct.pack("<IIQQ", 0x46554747, version, len(tensors), len(kvs)) + b"".join(kvs) + head
    out += b"\0" * (-len(out) % alignment) + data
    with open(path, "wb") as f:
        f.write(out)
    return out


def llama_kvs(layers, dim, ffn, heads, kv_heads, ctx, theta=10000.0, head_dim=None, extra=()):
    out = [kv("general.architecture", STR, "llama"), kv("general.name", STR, "test"),
           kv("llama.block_count", U32, layers), kv("llama.context_length", U32, ctx),
           kv("llama.embedding_length", U32, dim), kv("llama.feed_forward_length", U32, ffn),
           kv("llama.attention.head_count", U32, heads), kv("llama.attention.head_count_kv", U32, kv_heads),
           kv("llama.attention.layer_norm_rms_epsilon", F32, 1e-5), kv("llama.rope.freq_base", F32, theta)]
    if head_dim:
        out += [kv("llama.attention.key_length", U32, head_dim), kv("llama.attention.value_length", U32, head_dim)]
    return out + list(extra)


def llama_tensors(layers, dim, ffn, heads, kv_heads, vocab, kind="F16", tied=True, head_dim=None, seed=1):
    rng = random.Random(seed)
    hd = head_dim or dim // heads
    def mat(name, rows, cols):
        ternary = kind[0] == "T" and not name.startswith("blk.")  # such models keep embedding and head wide
        k = kind if cols % TYPES[kind][1] == 0 and not ternary else "F16"
        return (name, [cols, rows], k, block_data(k, rows * cols, rng))
    def norm(name, n):
        return (name, [n], "F32", b"".join(struct.pack("<f", rng.uniform(.5, 1.5)) for _ in range(n)))
    out = [mat("token_embd.weight", vocab, dim), norm("output_norm.weight", dim)]
    if not tied:
        out.append(mat("output.weight", vocab, dim))
    for l in range(layers):
        p = f"blk.{l}."
        out += [norm(p + "attn_norm.weight", dim), mat(p + "attn_q.weight", heads * hd, dim),
                mat(p + "attn_k.weight", kv_heads * hd, dim), mat(p + "attn_v.weight", kv_heads * hd, dim),
                mat(p + "attn_output.weight", dim, heads * hd), norm(p + "ffn_norm.weight", dim),
                mat(p + "ffn_gate.weight", ffn, dim), mat(p + "ffn_up.weight", ffn, dim),
                mat(p + "ffn_down.weight", dim, ffn)]
    return out


def vocab_kvs(tokenizer_json, pre):
    """A Hugging Face tokenizer.json as GGUF keys."""
    j = json.load(open(tokenizer_json, encoding="utf8"))
    vocab = j["model"]["vocab"]
    added = {a["id"]: a for a in j["added_tokens"]}
    n = max(max(vocab.values()), max(added, default=0)) + 1
    piece, kind = [f"[PAD{i}]" for i in range(n)], [5] * n
    for p, i in vocab.items():
        piece[i], kind[i] = p, 1
    for i, a in added.items():
        piece[i], kind[i] = a["content"], 3 if a["special"] else 4
    spm = j["model"].get("byte_fallback", False)
    if spm:
        kind = [6 if k == 1 and len(p) == 6 and p.startswith("<0x") else k for p, k in zip(piece, kind)]
        if "<unk>" in vocab:
            kind[vocab["<unk>"]] = 2
    merges = [m if isinstance(m, str) else " ".join(m) for m in j["model"]["merges"]]
    out = [kv("tokenizer.ggml.model", STR, "llama" if spm else "gpt2"), kv("tokenizer.ggml.pre", STR, pre),
           kv("tokenizer.ggml.tokens", ARR, piece, STR), kv("tokenizer.ggml.token_type", ARR, kind, I32)]
    if spm:  # converters derive merges from scores: a piece's score is the rank of the first merge that makes it
        rank = {}
        for i, m in enumerate(merges):
            rank.setdefault(m.replace(" ", ""), i)
        out += [kv("tokenizer.ggml.scores", ARR, [-float(rank.get(p, 10 ** 6)) for p in piece], F32),
                kv("tokenizer.ggml.unknown_token_id", U32, vocab["<unk>"])]
    else:
        out.append(kv("tokenizer.ggml.merges", ARR, merges, STR))
    return out, n


def write_vocab_model(path, tokenizer_json, pre):
    """The smallest model that carries a tokenizer."""
    kvs, n = vocab_kvs(tokenizer_json, pre)
    zero = lambda name, dims: (name, dims, "F16", b"\0" * (2 * dims[0] * (dims[1] if len(dims) > 1 else 1)))
    t = [zero("token_embd.weight", [2, n]), zero("output_norm.weight", [2])]
    for name, dims in (("attn_norm", [2]), ("attn_q", [2, 2]), ("attn_k", [2, 2]), ("attn_v", [2, 2]),
                       ("attn_output", [2, 2]), ("ffn_norm", [2]), ("ffn_gate", [2, 2]), ("ffn_up", [2, 2]), ("ffn_down", [2, 2])):
        t.append(zero(f"blk.0.{name}.weight", dims))
    write(path, llama_kvs(1, 2, 2, 1, 1, 64) + kvs, t)


def tokenizer_json_of(gguf_path, pre_tokenizer, out):
    """The way back: a tokenizer.json from the keys of a GGUF file with byte-level BPE."""
    f = read_kvs(gguf_path)
    piece, kind = f["tokenizer.ggml.tokens"], f["tokenizer.ggml.token_type"]
    j = {"version": "1.0", "added_tokens": [
            {"id": i, "content": p, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
            for i, p in enumerate(piece) if kind[i] == 3],
         "normalizer": None, "pre_tokenizer": pre_tokenizer, "post_processor": None,
         "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
         "model": {"type": "BPE", "dropout": None, "unk_token": None, "byte_fallback": False,
                   "vocab": {p: i for i, p in enumerate(piece)}, "merges": f["tokenizer.ggml.merges"]}}
    json.dump(j, open(out, "w", encoding="utf8"))


class Reader:
    """The keys of a GGUF file: `kvs` by name, `raw` their bytes in order; `take` and `text` go on behind them."""

    def __init__(self, path):
        self.data, self.at = open(path, "rb").read(), 24
        self.tensors, n = struct.unpack_from("<QQ", self.data, 8)
        one = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<B", U64: "<Q", I64: "<q", F64: "<d"}
        value = lambda kind: self.text() if kind == STR else self.take(one[kind])
        self.kvs, self.raw = {}, {}
        for _ in range(n):
            start, key, kind = self.at, self.text(), self.take("<I")
            if kind == ARR:
                kind, n = self.take("<I"), self.take("<Q")
                self.kvs[key] = [value(kind) for _ in range(n)]
            else:
                self.kvs[key] = value(kind)
            self.raw[key] = self.data[start:self.at]

    def take(self, fmt):
        v = struct.unpack_from(fmt, self.data, self.at)[0]
        self.at += struct.calcsize(fmt)
        return v

    def text(self):
        n = self.take("<Q")
        self.at += n
        return self.data[self.at - n:self.at].decode("utf8", "replace")


def read_kvs(path):
    return Reader(path).kvs


def write_first_layers(source, target, layers, template=None):
    """A model of fewer layers: a source's first ones, with its embedding, last norm and head; with another chat template, where one is given."""
    r = Reader(source)
    infos = [(r.text(), [r.take("<Q") for _ in range(r.take("<I"))], r.take("<I"), r.take("<Q")) for _ in range(r.tensors)]
    base, names = r.at + -r.at % 32, {number: name for name, (number, _, _) in TYPES.items()}
    r.raw["llama.block_count"] = kv("llama.block_count", U32, layers)
    if template:
        r.raw["tokenizer.chat_template"] = kv("tokenizer.chat_template", STR, template)
    kept = [i for i in infos if not i[0].startswith("blk.") or int(i[0].split(".")[1]) < layers]
    raw = lambda dims, kind, offset: r.data[base + offset:base + offset + tensor_bytes(kind, math.prod(dims))]
    write(target, list(r.raw.values()), [(name, dims, names[kind], raw(dims, names[kind], offset)) for name, dims, kind, offset in kept])
