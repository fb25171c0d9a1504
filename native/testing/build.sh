#!/bin/sh
# Builds and runs one program of this folder over every target: sh native/testing/build.sh matmul_test [compiler flags, e.g. -fsanitize=address,undefined]
# For another machine: TEST_MACHINE=aarch64 CC=aarch64-linux-gnu-gcc TEST_RUN=qemu-aarch64 sh native/testing/build.sh matmul_test -static
set -eu
here=$(dirname "$0")
program=$1
shift
flags=$*
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
families='norm pointwise optimizer optimizer_adafactor optimizer_8bit rotary embedding movement loss linear_loss matmul attention'
case $program in
  stream_speed) kernels="$families streams" ;;
  same_bits) kernels=$families ;;
  *) kernels='matmul attention peak' ;;
esac
compile() { # target, its flags
  for file in $kernels; do
    [ "$file" = streams ] && from=$here || from=$here/..
    "${CC:-cc}" -O3 -std=gnu11 -ffp-contract=off -fno-math-errno -fno-trapping-math -Wall -Wextra $2 -DFT_TARGET="$1" $flags -c "$from/$file.c" -o "$out/$(basename $file)-$1.o"
  done
  # The limit must not touch memory.
  if [ -z "$flags" ] && [ -f "$out/peak-$1.o" ] && objdump -d "$out/peak-$1.o" | grep -qE '\(%rsp\)|\(%rbp\)|\[sp'; then
    echo "peak.c ($1) keeps values on the stack: its rate would be no limit" >&2
    exit 1
  fi
}
avx2='-mavx2 -mfma -mf16c'
case ${TEST_MACHINE:-$(uname -m)} in
  x86_64) compile baseline ''; compile avx2 "$avx2"; compile avx512 "$avx2 -mavx512f -mavx512bw -mavx512dq -mavx512vl" ;;
  *) compile neon '' ;;
esac
"${CC:-cc}" -O2 -std=gnu11 -Wall -Wextra $flags "$here/$program.c" "$here/../pool.c" "$here/../convert.c" "$out"/*.o -o "$out/program" -lm -pthread
${TEST_RUN:-} "$out/program"
