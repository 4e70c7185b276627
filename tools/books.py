#!/usr/bin/env python3
"""Mean squared error of the codebooks in src/cast/quantise.c on normal values, over their variance: the numbers of
book_distortion in src/cast/bits.c.  Groups of 64 with the best group scale of 1..63, 400 rows of 9 groups.

    python3 tools/books.py             (needs numpy)
    python3 tools/books.py --search    also looks for better integer books of 2, 3 and 4 bits, from the present ones in all sizes
"""
import sys
import numpy as np

BOOKS = {2: [2, 7], 3: [2, 6, 11, 18], 4: [1, 3, 5, 7, 9, 12, 16, 21], 6: range(1, 64, 2), 8: range(0, 128)}
w = np.abs(np.random.default_rng(1).standard_normal((400, 9, 64)).astype(np.float32))


def distortion(book, shares=48):
    book = np.array(book, np.float32)
    middle, reach = (book[1:] + book[:-1]) / 2, book[-1]
    unit = w.max((1, 2)) / reach / 63  # as set_row_scales: the largest weight of a row is the last level at scale 63
    best = np.full(w.shape[:2], np.inf)
    for share in np.linspace(.3, 1.05, shares):
        scale = np.clip(np.round(w.max(2) * share / reach / unit[:, None]), 1, 63) * unit[:, None]
        rounded = book[np.searchsorted(middle, w / scale[..., None])] * scale[..., None]
        best = np.minimum(best, ((w - rounded) ** 2).sum(2))
    return best.sum() / w.size


def descend(book):
    """Moves single levels by 1 while that helps."""
    least, moved = distortion(book, 20), True
    while moved:
        moved = False
        for i in range(len(book)):
            for step in (-1, 1):
                other = book[:i] + [book[i] + step] + book[i + 1:]
                if other[0] < 1 or other[-1] > 31 or any(b <= a for a, b in zip(other, other[1:])):
                    continue
                d = distortion(other, 20)
                if d < least:
                    book, least, moved = other, d, True
    return least, book


for bits, book in BOOKS.items():
    print(f"{bits} bits: {distortion(list(book)):.3g}")
if "--search" in sys.argv:
    for bits in (2, 3, 4):
        found = []
        for last in range(2 ** bits - 1, 32):
            start = [max(i + 1, round(x * last / BOOKS[bits][-1])) for i, x in enumerate(BOOKS[bits])]
            if all(a < b for a, b in zip(start, start[1:])):
                found.append(descend(start))
        for least, book in sorted(map(list, {(d, tuple(b)) for d, b in found}))[:4]:
            print(f"{bits} bits: {least:.4g} {list(book)}")
