#!/bin/sh
# embed.sh SYMBOL FILE...: assembler source on standard output that puts files into the program, with a table of
# {name, from, to} called SYMBOL; names are the files' without their first folder.
set -eu
symbol=$1
shift
echo "  .section .rodata"
i=0
for f in "$@"; do
  printf 'file_%d_from:\n  .incbin "%s"\nfile_%d_to:\n  .byte 0\nfile_%d_name:\n  .asciz "%s"\n' "$i" "$f" "$i" "$i" "${f#*/}"
  i=$((i + 1))
done
echo "  .section .data.rel.ro, \"aw\""
echo "  .balign 8"
echo "  .globl $symbol"
echo "$symbol:"
n=0
while [ "$n" -lt "$i" ]; do
  printf '  .quad file_%d_name, file_%d_from, file_%d_to\n' "$n" "$n" "$n"
  n=$((n + 1))
done
echo "  .section .rodata"
echo "  .balign 4"
echo "  .globl ${symbol}s"
echo "${symbol}s:"
echo "  .long $i"
echo '  .section .note.GNU-stack, "", %progbits'
