#!/bin/sh
# A fast completion loop with curl: many short texts one after another.  fast.sh [URL]; start a server first: burin serve X.chip
set -eu
url=${1:-http://127.0.0.1:8080}
start=$(date +%s%N)
for seed in $(seq 1 20); do
  curl -sS "$url/v1/completions" -H 'Content-Type: application/json' ${BURIN_API_KEY:+-H "Authorization: Bearer $BURIN_API_KEY"} \
    -d "{\"prompt\": \"Once upon a time\", \"max_tokens\": 24, \"seed\": $seed}" |
    sed 's/.*"text":"\(\([^"\\]\|\\.\)*\)".*/\1/'
  echo
done
echo "20 texts in $((($(date +%s%N) - start) / 1000000)) ms"
