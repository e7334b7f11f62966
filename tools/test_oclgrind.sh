#!/usr/bin/env bash
# Runs one test program under Oclgrind, which interprets kernels and reports data races, invalid accesses and divergent
# barriers. Oclgrind's exit code stays 0 whatever it finds: its log must be empty.
#
#   tools/test_oclgrind.sh FOLDER PROGRAM [OCLGRIND-OPTION...]
#
# FOLDER/<program>.kernels lists the kernels that ran. Prints one line, "ok ...", "skipped ..." or "FAILED ...", and what went wrong.
set -uo pipefail
folder=$1
program=$2
shift 2
name=$(basename "$program")
log=$folder/$name.oclgrind
output=$folder/$name.output
start=$SECONDS
mkdir -p "$folder"

# Oclgrind replaces the OpenCL loader, so its device is the only one, and no driver is to be tried. It has 128 MiB unless told
# otherwise.
CONVOY_DRIVER_CHECK=0 CONVOY_TEST_DEVICE=Oclgrind CONVOY_TEST_QUICK=1 oclgrind --data-races --inst-counts --num-threads 1 \
    --global-mem-size 1073741824 --log "$log" "$@" "$program" >"$output" 2>&1 </dev/null
code=$?
sed -n "s/^Instructions executed for kernel '\(.*\)':$/\1/p" "$output" | sort -u >"$folder/$name.kernels"

if [ $code -eq 77 ]; then # tests/support/test.h
    printf 'skipped %-24s %4d s\n' "$name" $((SECONDS - start))
    exit 0
fi
if [ $code -eq 0 ] && [ ! -s "$log" ]; then
    printf 'ok      %-24s %4d s, %d kernels\n' "$name" $((SECONDS - start)) "$(wc -l <"$folder/$name.kernels")"
    exit 0
fi
printf 'FAILED  %-24s %4d s\n' "$name" $((SECONDS - start))
grep -E '\[  ERROR|\[  FAILED|\[   LINE|error' "$output" | head -n 10 | sed 's/^/    /'
[ ! -s "$log" ] || head -n 20 "$log" | sed 's/^/    Oclgrind: /'
exit 1
