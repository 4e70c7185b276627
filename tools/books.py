#!/usr/bin/env python3
"""Mean squared error of the codebooks in src/cast/quantise.c on normal values, over their variance: the numbers of
book_distortion in src/cast/bits.c.  Groups of 64 with the best group scale of 1..63, 400 rows of 9 groups.

    python3 tools/books.py      (needs numpy)
"""
import numpy as np

BOOKS = {2: [9, 31], 3: [4, 11, 19, 31], 4: [1, 4, 7, 11, 14, 18, 24, 31], 6: range(1, 64, 2), 8: range(0, 128)}
w = np.random.default_rng(1).standard_normal((400, 9, 64)).astype(np.float32)
for bits, positive in BOOKS.items():
    book = np.array(sorted({s * p for p in positive for s in (-1, 1)}), float)
    middle, reach = (book[1:] + book[:-1]) / 2, book[-1]
    unit = np.abs(w).max((1, 2)) / reach / 63  # as set_row_scales: the largest weight of a row is the last level at scale 63
    best = np.full(w.shape[:2], np.inf)
    for share in np.linspace(.3, 1.05, 48):
        scale = np.clip(np.round(np.abs(w).max(2) * share / reach / unit[:, None]), 1, 63) * unit[:, None]
        rounded = book[np.searchsorted(middle, w / scale[..., None])] * scale[..., None]
        best = np.minimum(best, ((w - rounded) ** 2).sum(2))
    print(f"{bits} bits: {best.sum() / w.size:.3g}")
