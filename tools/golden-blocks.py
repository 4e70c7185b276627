#!/usr/bin/env python3
"""Makes test/golden/blocks.json: for every block type, random blocks and the values that the gguf package gives them.

    pip install gguf numpy; python3 tools/golden-blocks.py > test/golden/blocks.json
"""
import json, random, struct, sys
import numpy as np
from gguf import GGMLQuantizationType, dequantize

TYPES = {"F32": (1, 4, []), "F16": (1, 2, []), "BF16": (1, 2, []), "Q4_0": (32, 18, [0]), "Q4_1": (32, 20, [0, 2]),
         "Q5_0": (32, 22, [0]), "Q5_1": (32, 24, [0, 2]), "Q8_0": (32, 34, [0]), "Q2_K": (256, 84, [80, 82]),
         "Q3_K": (256, 110, [108]), "Q4_K": (256, 144, [0, 2]), "Q5_K": (256, 176, [0, 2]), "Q6_K": (256, 210, [208]),
         "TQ1_0": (256, 54, [52]), "TQ2_0": (256, 66, [64])}
rng, out = random.Random(1), {}
for kind, (per, size, scales) in TYPES.items():
    n = 3 if per > 1 else 40
    raw = bytearray(rng.randbytes(n * size))
    for b in range(n):
        for at in scales:
            raw[b * size + at:b * size + at + 2] = struct.pack("<e", rng.choice([rng.gauss(0, .05), rng.gauss(0, 1e-6), rng.gauss(0, 100)]))
        if per == 1:
            v = rng.choice([rng.gauss(0, 1), rng.gauss(0, 1e-6), 0.0, -0.0])
            raw[b * size:(b + 1) * size] = {"F32": struct.pack("<f", v), "F16": struct.pack("<e", v), "BF16": struct.pack("<f", v)[2:]}[kind]
    values = dequantize(np.frombuffer(bytes(raw), np.uint8).reshape(1, -1) if kind not in ("F32", "F16") else
                        np.frombuffer(bytes(raw), np.float32 if kind == "F32" else np.float16).reshape(1, -1), GGMLQuantizationType[kind])
    out[kind] = [bytes(raw).hex(), [f"{x:08x}" for x in values.astype(np.float32).reshape(-1).view(np.uint32)]]
json.dump(out, sys.stdout)
