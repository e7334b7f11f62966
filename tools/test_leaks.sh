#!/usr/bin/env bash
# Runs a test that AddressSanitizer watches.
#
#   tools/test_leaks.sh PROGRAM
#
# In one of some hundred runs LeakSanitizer's own tracer crashes when the test is already over ("Tracer caught signal
# 11"): that says nothing about the test, which then runs once more.
set -uo pipefail
output=$("$@" 2>&1)
code=$?
case $output in
*"LeakSanitizer has encountered a fatal error"*)
    echo "LeakSanitizer crashed; once more"
    exec "$@"
    ;;
esac
printf '%s\n' "$output"
exit $code
