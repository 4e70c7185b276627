#!/bin/sh
# From a model file to text: get SmolLM2, cast it, chat one turn, say how fast and how large.
set -eu
burin=$1
cache=${BURIN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/burin}
model=$(tools/get-smollm2.sh)
# the chip's name says what it was made from and with which program, so that a new burin casts anew
key=$(cat "$burin" | sha256sum | cut -c1-12)
chip=$cache/smollm2-4.5bit-$key.chip
if [ ! -f "$chip" ]; then
  rm -f "$cache"/smollm2-*bit-*.chip
  echo "casting at 4.5 bits a weight (once; some minutes)"
  "$burin" cast "$model" --bits 4.5 -o "$chip"
fi
prompt="Give me three tips for sleeping well."
echo
echo "> $prompt"
"$burin" run "$chip" -p "$prompt" --seed 1 -n 160 2>"$cache/speed.txt"
echo
cat "$cache/speed.txt"
"$burin" bench "$chip" --prefill 512 --decode 128 --rounds 2
"$burin" info "$chip" | grep -E '^(bits a weight|hash|file)'
echo "chip: $chip"
