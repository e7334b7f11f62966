#!/usr/bin/env bash
# Runs a test that AddressSanitizer watches.
#
#   tools/test_leaks.sh PROGRAM
#
# In one of some hundred runs, more often on a busy machine, LeakSanitizer's own tracer crashes when the test is already
# over ("Tracer caught signal 11"): that says nothing about the test, which then runs again, at most five times.
set -uo pipefail
for _ in 1 2 3 4 5; do
    output=$("$@" 2>&1)
    code=$?
    case $output in
    *"LeakSanitizer has encountered a fatal error"*) echo "LeakSanitizer crashed" ;;
    *) break ;;
    esac
done
printf '%s\n' "$output"
exit $code
