"""Crafted model files: one for each class of flaw that has had a CVE in a reader of such files.

Each case is (name, bytes, pattern of the expected error).  The base is a small sound model, which must load.
"""
import struct
import gguf
from gguf import kv, s, STR, ARR, U32, F32, U64, BOOL, I32, F64

SHAPE = dict(layers=1, dim=64, ffn=64, heads=2, kv_heads=1)
VOCAB = [chr(c) for c in list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256)) + list(range(256, 324))]
TOKENS = VOCAB + ["ab", "<end>"]


def text_kvs(tokens=None, merges=("a b",), types=None, extra=()):
    tokens = TOKENS if tokens is None else tokens
    types = [1] * (len(tokens) - 1) + [3] if types is None else types
    return [kv("tokenizer.ggml.model", STR, "gpt2"), kv("tokenizer.ggml.pre", STR, "gpt-2"),
            kv("tokenizer.ggml.tokens", ARR, tokens, STR), kv("tokenizer.ggml.token_type", ARR, types, I32),
            kv("tokenizer.ggml.merges", ARR, list(merges), STR), kv("tokenizer.ggml.eos_token_id", U32, len(tokens) - 1), *extra]


def shape_kvs(drop=(), **change):
    v = {"general.architecture": (STR, "llama"), "llama.block_count": (U32, 1), "llama.context_length": (U32, 64),
         "llama.embedding_length": (U32, 64), "llama.feed_forward_length": (U32, 64), "llama.attention.head_count": (U32, 2),
         "llama.attention.head_count_kv": (U32, 1), "llama.attention.layer_norm_rms_epsilon": (F32, 1e-5)}
    for k, x in change.items():
        v[k.replace("__", ".")] = x
    return [kv(k, *x) for k, x in v.items() if k not in drop]


def build(kvs=None, tensors=None, version=3, alignment=32, path="/dev/null"):
    return gguf.write(path, shape_kvs() + text_kvs() if kvs is None else kvs,
                      gguf.llama_tensors(vocab=len(TOKENS), **SHAPE) if tensors is None else tensors, version, alignment)


def patch(b, at, fmt, value):
    b = bytearray(b)
    struct.pack_into(fmt, b, at, value)
    return bytes(b)


def find(b, text, skip=0):
    return b.index(text.encode()) + len(text) + skip


def cases():
    good = build()
    T = gguf.llama_tensors(vocab=len(TOKENS), **SHAPE)
    q = [t for t in T if t[0] == "blk.0.attn_q.weight"][0]
    others = [t for t in T if t is not q]
    info = find(good, "blk.0.attn_q.weight")  # u32 dims, u64 ne[2], u32 type, u64 offset
    tokens = find(good, "tokenizer.ggml.tokens")  # u32 9, u32 8, u64 n
    yield "empty", b"", "empty file"
    yield "short magic", b"GG", "neither a chip"
    yield "cut behind the magic", good[:12], "too short"
    yield "foreign magic", b"PK\x03\x04" + b"\0" * 100, "neither a chip"
    yield "version 1", patch(good, 4, "<I", 1), "GGUF version: expected 2 or 3"
    yield "version 4", patch(good, 4, "<I", 4), "GGUF version: expected 2 or 3"
    yield "tensor count huge", patch(good, 8, "<Q", 2**63), "number of tensors"
    yield "tensor count beyond file", patch(good, 8, "<Q", 100000), "number of tensors"
    yield "kv count huge", patch(good, 16, "<Q", 2**64 - 1), "number of keys"
    yield "kv count beyond file", patch(good, 16, "<Q", 60000), "."
    yield "key length huge", patch(good, 24, "<Q", 2**63), "string length"
    yield "key length beyond file", patch(good, 24, "<Q", 2**25), "too short"
    yield "string length wraps", patch(good, find(good, "general.architecture", 4), "<Q", 2**64 - 8), "string length"
    yield "value type unknown", patch(good, find(good, "general.architecture"), "<I", 77), "value type"
    yield "array of arrays", patch(good, tokens + 4, "<I", 9), "arrays of arrays"
    yield "array element type unknown", patch(good, tokens + 4, "<I", 99), "value type"
    yield "array count huge", patch(good, tokens + 8, "<Q", 2**61), "at most"
    yield "array count beyond file", patch(good, tokens + 8, "<Q", 2**23), "."
    yield "array element type wrong", build(shape_kvs() + [k if b"ggml.tokens" not in k else kv("tokenizer.ggml.tokens", ARR, [1, 2], U32) for k in text_kvs()]), "expected an array of strings"
    yield "alignment 0", build(shape_kvs(general__alignment=(U32, 0)) + text_kvs()), "general.alignment"
    yield "alignment 3", build(shape_kvs(general__alignment=(U32, 3)) + text_kvs()), "power of two"
    yield "alignment huge", build(shape_kvs(general__alignment=(U32, 2**31)) + text_kvs()), "general.alignment"
    yield "dims 0", patch(good, info, "<I", 0), "1 to 4 dimensions"
    yield "dims 5", patch(good, info, "<I", 5), "1 to 4 dimensions"
    yield "dims huge", patch(good, info, "<I", 2**32 - 1), "1 to 4 dimensions"
    yield "zero extent", patch(good, info + 4, "<Q", 0), "dimension 0"
    yield "extent huge", patch(good, info + 4, "<Q", 2**63), "dimension 0"
    yield "extents wrap", build(tensors=others + [(q[0], [2**31 - 1, 2**31 - 1, 2**31 - 1], "F16", b"")]), "product of its dimensions"
    yield "block remainder", build(tensors=others + [(q[0], [63, 64], "Q8_0", b"\0" * 100)]), "multiple of 32"
    yield "type unknown", patch(good, info + 20, "<I", 999), "block type 999"
    yield "type unsupported", patch(good, info + 20, "<I", 20), "IQ4_NL"
    yield "type removed", patch(good, info + 20, "<I", 4), "Q4_2"
    yield "offset beyond file", patch(good, info + 24, "<Q", 2**40), "expected .* bytes at offset"
    yield "offset wraps", patch(good, info + 24, "<Q", 2**64 - 32), "expected .* bytes at offset"
    yield "offset unaligned", patch(good, info + 24, "<Q", 1), "multiple of 32"
    yield "offsets overlap", patch(good, info + 24, "<Q", 0), "overlaps"
    yield "duplicate key", build(shape_kvs() + text_kvs() + [kv("llama.block_count", U32, 2)]), "stands twice"
    yield "duplicate tensor", build(tensors=T + [q]), "stands twice"
    yield "tensor name long", build(tensors=T + [("x" * 64, [1], "F32", b"\0" * 4)]), "tensor's name"
    yield "tensor name empty", build(tensors=T + [("", [1], "F32", b"\0" * 4)]), "tensor's name"
    yield "tensor unknown", build(tensors=T + [("blk.0.attn_q.bias", [64], "F32", b"\0" * 256)]), "not part of architecture"
    yield "tensor of a layer beyond", build(tensors=T + [("blk.1.attn_norm.weight", [64], "F32", b"\0" * 256)]), "not part of"
    yield "tensor of a huge layer", build(tensors=T + [("blk.99999999999.attn_norm.weight", [64], "F32", b"\0" * 256)]), "not part of"
    yield "tensor missing", build(tensors=others), "is missing"
    yield "tensor of wrong shape", build(tensors=others + [(q[0], [64, 32], "F16", b"\0" * 4096)]), "expected 64 rows"
    yield "tensor of three dimensions", build(tensors=others + [(q[0], [64, 8, 16], "F16", b"\0" * 16384)]), "expected 64 rows"
    yield "weights not finite", build(tensors=others + [(q[0], [64, 64], "F32", struct.pack("<f", float("nan")) * 4096)]), "finite"
    yield "weights too large", build(tensors=others + [(q[0], [64, 64], "F32", struct.pack("<f", 1e25) * 4096)]), "too large"
    for key in ("general.architecture", "llama.block_count", "llama.embedding_length", "llama.attention.layer_norm_rms_epsilon"):
        yield "missing " + key, build(shape_kvs(drop=(key,)) + text_kvs()), key
    yield "architecture foreign", build(shape_kvs(general__architecture=(STR, "mamba")) + text_kvs()), "'mamba' is not supported"
    yield "architecture not text", build(shape_kvs(general__architecture=(U32, 1)) + text_kvs()), "expected a string"
    yield "layers 0", build(shape_kvs(llama__block_count=(U32, 0)) + text_kvs()), "block_count"
    yield "layers huge", build(shape_kvs(llama__block_count=(U32, 2**32 - 1)) + text_kvs()), "block_count"
    yield "dim huge", build(shape_kvs(llama__embedding_length=(U64, 2**63)) + text_kvs()), "embedding_length"
    yield "heads 0", build(shape_kvs(llama__attention__head_count=(U32, 0)) + text_kvs()), "head_count"
    yield "kv heads do not divide", build(shape_kvs(**{"llama__attention__head_count": (U32, 4), "llama__attention__head_count_kv": (U32, 3)}) + text_kvs()), "multiple"
    yield "epsilon NaN", build(shape_kvs(llama__attention__layer_norm_rms_epsilon=(F32, float("nan"))) + text_kvs()), "rms_epsilon"
    yield "epsilon not a float", build(shape_kvs(llama__attention__layer_norm_rms_epsilon=(U32, 1)) + text_kvs()), "expected a float"
    yield "rotary base 0", build(shape_kvs(llama__rope__freq_base=(F32, 0.0)) + text_kvs()), "freq_base"
    yield "rotary dims odd", build(shape_kvs(llama__rope__dimension_count=(U32, 3)) + text_kvs()), "even"
    yield "rotary dims huge", build(shape_kvs(llama__rope__dimension_count=(U32, 4096)) + text_kvs()), "dimension_count"
    yield "rotary scaling foreign", build(shape_kvs(llama__rope__scaling__type=(STR, "yarn")) + text_kvs()), "yarn"
    yield "experts", build(shape_kvs(llama__expert_count=(U32, 8)) + text_kvs()), "experts"
    yield "tokenizer foreign", build(shape_kvs() + [kv("tokenizer.ggml.model", STR, "t5")]), "'t5' is not supported"
    yield "pre-tokenizer foreign", build(shape_kvs() + [k if b"ggml.pre" not in k else kv("tokenizer.ggml.pre", STR, "weird") for k in text_kvs()]), "weird"
    yield "end token outside the vocabulary", build(shape_kvs() + [k if b"eos_token" not in k else kv("tokenizer.ggml.eos_token_id", U32, 100000) for k in text_kvs()]), "eos_token_id"
    yield "types of another length", build(shape_kvs() + text_kvs(types=[1] * 5)), "token_type: expected"
    yield "type of a token unknown", build(shape_kvs() + text_kvs(types=[1] * (len(TOKENS) - 1) + [9])), "type of token"
    yield "merge without a space", build(shape_kvs() + text_kvs(merges=("ab",))), "parted by a space"
    yield "merge of unknown pieces", build(shape_kvs() + text_kvs(merges=("a zz",))), "lacks"
    yield "vocabulary of another size", build(shape_kvs() + text_kvs(tokens=TOKENS[:100] + ["ab", "<end>"])), "token_embd.weight"
    spm = lambda tokens, types, scores: build(shape_kvs() + [kv("tokenizer.ggml.model", STR, "llama"), kv("tokenizer.ggml.tokens", ARR, tokens, STR),
        kv("tokenizer.ggml.token_type", ARR, types, I32), kv("tokenizer.ggml.scores", ARR, scores, F32)])
    n = len(TOKENS)
    yield "byte piece of no byte", spm(["<0x-1>"] + TOKENS[1:], [6] + [1] * (n - 1), [0.0] * n), "byte piece"
    yield "scores of another length", spm(TOKENS, [1] * n, [0.0] * 3), "scores"
    yield "score NaN", spm(TOKENS, [1] * n, [float("nan")] * n), "NaN"
    yield "split part alone", build(shape_kvs(split__count=(U32, 2), split__no=(U32, 1)) + text_kvs()), "open the first part"
    yield "split of a wrong name", build(shape_kvs(split__count=(U32, 2), split__no=(U32, 0)) + text_kvs()), "must be named"
    yield "template deep", build(shape_kvs() + text_kvs(extra=(kv("tokenizer.chat_template", STR, "{{ " + "(" * 5000),))), "nested too deeply"
    yield "template unknown tag", build(shape_kvs() + text_kvs(extra=(kv("tokenizer.chat_template", STR, "{% import 'x' %}"),))), "unknown tag"
    yield "template endless", build(shape_kvs() + text_kvs(extra=(kv("tokenizer.chat_template", STR, "{% for i in range(99999) %}{% for j in range(99999) %}{{ j }}{% endfor %}{% endfor %}"),))), "too many steps|too long|too much"
    yield "template doubling", build(shape_kvs() + text_kvs(extra=(kv("tokenizer.chat_template", STR, "{% set n = namespace(s='xxxxxxxx') %}{% for i in range(90) %}{% set n.s = n.s ~ n.s %}{% endfor %}"),))), "too long|too much"
    yield "template endless recursion", build(shape_kvs() + text_kvs(extra=(kv("tokenizer.chat_template", STR, "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),))), "nested too deeply"
    yield "template unknown filter", build(shape_kvs() + text_kvs(extra=(kv("tokenizer.chat_template", STR, "{{ 'a' | explode }}"),))), "unknown filter"
