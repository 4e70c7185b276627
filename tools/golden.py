#!/usr/bin/env python3
"""Writes test/golden/chips.json and test/golden/tokens.json from the present build: run it when the arithmetic or the cast has
changed on purpose, and say so in the commit.
"""
import json, os, subprocess, tempfile

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
TINY, B = "models/tiny.gguf", "build/burin"
CASTS = ["--bits 4", "--bits 2.9,v=4", "--bits all=2 --fast", "--bits all=3 --fast", "--bits all=4 --fast", "--bits all=6 --fast",
         "--bits all=8 --fast", "--bits all=3,v=4,embed=8 --seed 7"]
RUNS = ["--temperature 0", "--temperature 1 --seed 5", "--temperature 0.8 --top-k 20 --seed 6", "--temperature 1.2 --top-p 0.8 --seed 7",
        "--temperature 1 --min-p 0.05 --seed 8", "--temperature 0.9 --repeat-penalty 1.2 --frequency-penalty 0.3 --presence-penalty 0.1 --seed 9"]
out = lambda *a: subprocess.run(a, check=True, capture_output=True, text=True).stdout
chips, tokens = {}, {}
with tempfile.TemporaryDirectory() as d:
    for c in CASTS:
        chips[c] = out(B, "cast", TINY, "-o", f"{d}/x.chip", *c.split()).strip()
    out(B, "cast", TINY, "-o", f"{d}/x.chip", "--bits", "4")
    for r in RUNS:
        tokens[r] = out(B, "run", f"{d}/x.chip", "-p", "Once upon a time", "--ids", "-n", "64", "--temperature", "0.9", "--seed", "11", *r.split()).split()
json.dump(chips, open("test/golden/chips.json", "w"), indent=1)
json.dump(tokens, open("test/golden/tokens.json", "w"))
