#!/usr/bin/env bash
# Builds and runs Convoy's test-suite:
#
#   tools/test.sh [--no-install] [--jobs N] [PART...]
#
# Without a PART all of them run, in this order:
#   source     formatting, scripts, lengths, kernels that compile alone, floors, paths (tools/check_source.sh)
#   gcc        build with gcc -Werror; every test on PoCL
#   targets    kernels that compile for GPUs, also as networks ask for them (tools/check_source.sh)
#   install    cmake --install, then the programs of tools/examples built against it as they say, and run
#   rusticl    the ops in which devices differ most on Mesa's Rusticl, with work-items in lanes of vectors as on a GPU
#   devices    the same training run on every OpenCL driver at hand and on the host; the losses agree
#   threads    build with ThreadSanitizer; two devices train at once in two threads, and no report has a frame of Convoy
#   sanitize   build with clang -Werror, AddressSanitizer and UBSan; every test on PoCL
#   oclgrind   every kernel under Oclgrind with --data-races; its log must be empty
# Only where they are asked for, as before a release:
#   faults     500 calls of OpenCL, of the system and of the allocator fail, one in each run; and every buffer of every
#              kernel is spoilt, which --verify and the self-test have to notice (tests/faults/)
#   kills      1,000 runs are killed at random instants and go on to the same bits (KILLS: another number)
#   static     clang-tidy with .clang-tidy, gcc -fanalyzer and shellcheck on all that is ours, and the part `threads`
#   fuzz       libFuzzer on every parser (tests/fuzz/), or on FUZZ_TARGETS, FUZZ_SECONDS each (60), at most FUZZ_RUNS times;
#              what it finds lies in build-test/fuzz-found/
#
# Missing Debian packages are installed first (tools/install_packages.sh test) unless --no-install is given. Builds,
# logs and kernel caches lie in build-test/. The last line counts what passed, failed and was skipped; the exit code is
# 0 only when nothing failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
root=$PWD
out=$root/build-test
logs=$out/logs

usage() {
    sed -n '2,26s/^# \{0,1\}//p' "$0"
}

jobs=$(nproc)
install=yes
parts=()
while [ $# -gt 0 ]; do
    case $1 in
    --no-install) install=no ;;
    --jobs)
        jobs=${2:?--jobs needs a number}
        shift
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    source | gcc | targets | install | rusticl | devices | threads | sanitize | oclgrind | faults | kills | static | fuzz) parts+=("$1") ;;
    *)
        echo "test.sh: what is '$1'? Try --help." >&2
        exit 2
        ;;
    esac
    shift
done
[ ${#parts[@]} -gt 0 ] || parts=(source gcc targets install rusticl devices threads sanitize oclgrind)

if [ "$install" = yes ] && ! tools/install_packages.sh test; then
    echo "0 passed, 1 failed, 0 skipped (packages could not be installed)"
    exit 1
fi
mkdir -p "$logs"

# Kernels are compiled once for all parts: both caches are keyed by source, options, device and driver.
export POCL_CACHE_DIR=${POCL_CACHE_DIR:-$out/cache/pocl}
export CONVOY_CACHE_DIR=${CONVOY_CACHE_DIR:-$out/cache/convoy}
mkdir -p "$POCL_CACHE_DIR" "$CONVOY_CACHE_DIR" "$out/cache/mesa"
# What a driver keeps itself is enough for tests. The test of the program cache sets this for itself.
export CONVOY_CACHE=0
# Variants by the heuristics, whatever was measured here before: results must not depend on that.
export CONVOY_TUNE=0
# Tests run side by side: building beside one of them takes the core of another. The test of it sets this for itself.
export CONVOY_BUILD_AHEAD=0
# What tests say must not depend on who runs them.
unset CONVOY_DEVICE CONVOY_KERNEL_DIR CONVOY_DATA CONVOY_LOG

passed=0
failed=0
skipped=0
failures=()

# Sets `worked` to the seconds of processor time that everything until now took: beside the time that passed, it says
# what waits.
worked=0
count_work() {
    times >"$out/times"
    worked=$(awk -F '[ms ]+' 'NR == 2 { printf "%d", 60 * ($1 + $3) + $2 + $4 }' "$out/times")
}

# since SECONDS WORKED: both, until now.
since() {
    count_work
    took=$(printf '%4d s (processor %d s)' $((SECONDS - $1)) $((worked - $2)))
}

# step NAME COMMAND...: runs it quietly; its output lands in a log, of which a failure shows the end.
step() {
    local name=$1 start=$SECONDS before took
    count_work
    before=$worked
    shift
    if "$@" >"$logs/$name.log" 2>&1 </dev/null; then
        passed=$((passed + 1))
        since "$start" "$before"
        printf 'ok      %-24s %s\n' "$name" "$took"
        return 0
    fi
    failed=$((failed + 1))
    failures+=("$name")
    printf 'FAILED  %-24s %4d s; the end of %s:\n' "$name" $((SECONDS - start)) "${logs#"$root"/}/$name.log"
    tail -n 40 "$logs/$name.log" | sed 's/^/    /'
    return 1
}

build() { # PRESET [TARGET...], in a folder of the preset's name
    cmake -C "tools/presets/$1.cmake" -S . -B "$out/$1" -G Ninja && ninja -C "$out/$1" -j "$jobs" "${@:2}"
}

# Every test of one build; each counts by itself.
run_ctest() { # NAME FOLDER CTEST-OPTION...
    local name=$1 folder=$out/$2 log=$logs/$1.log start=$SECONDS counts before took
    shift 2
    count_work
    before=$worked
    # One more than there are cores: some wait, for a limit or for the disk.
    ctest --test-dir "$folder" -j $((jobs + 1)) --output-on-failure --no-tests=error "$@" >"$log" 2>&1 </dev/null
    counts=$(sed -n 's/^[0-9]*% tests passed, \([0-9]*\) tests failed out of \([0-9]*\)$/\1 \2/p' "$log")
    if [ -z "$counts" ]; then
        failed=$((failed + 1))
        failures+=("$name")
        printf 'FAILED  %-24s ctest ran no test:\n' "$name"
        tail -n 20 "$log" | sed 's/^/    /'
        return 1
    fi
    # ctest counts programs that skipped all of their tests (exit code 77) as passed.
    local bad=${counts% *} all=${counts#* } left cases note=""
    left=$(grep -c '^ *[0-9]*/[0-9]* Test .*\*\*\*Skipped' "$log")
    cases=$(awk '/^\[  SKIPPED \] [0-9]+ test/ { sum += $4 } END { print sum + 0 }' \
        "$folder/Testing/Temporary/LastTest.log")
    passed=$((passed + all - bad - left))
    failed=$((failed + bad))
    skipped=$((skipped + left))
    [ "$cases" -eq 0 ] || note=", $cases cases skipped"
    if [ "$bad" -eq 0 ]; then
        since "$start" "$before"
        printf 'ok      %-24s %s, %d tests%s\n' "$name" "$took" "$all" "$note"
        return 0
    fi
    mapfile -t -O ${#failures[@]} failures < <(sed -n "/(Skipped)/d; s|^\t *[0-9]* - \([^ ]*\) (.*|$name: \1|p" "$log")
    printf 'FAILED  %-24s %4d s, %d of %d tests; see %s\n' "$name" $((SECONDS - start)) "$bad" "$all" "${log#"$root"/}"
    # What the failed tests printed: cmocka marks it, and sanitizers do.
    grep -nE '\[  ERROR|\[  FAILED|ERROR:|error:|runtime error|\*\*\*(Failed|Timeout|Exception)' "$log" | head -n 60 |
        sed 's/^/    /'
    return 1
}

# PoCL alone, whatever else the machine has.
run_pocl_tests() { # NAME FOLDER
    OCL_ICD_VENDORS=/etc/OpenCL/vendors/pocl.icd CONVOY_TEST_DEVICE=cpu run_ctest "$@"
}

part_source() {
    local check
    for check in format scripts lengths kernels floors paths matrix; do
        step "source-$check" tools/check_source.sh "$check"
    done
}

part_gcc() {
    step gcc-build build gcc && run_pocl_tests gcc-tests gcc
}

part_targets() {
    step targets-build build gcc &&
        CONVOY_BUILD=$out/gcc step targets tools/check_source.sh targets
}

part_install() {
    step install-build build gcc &&
        OCL_ICD_VENDORS=/etc/OpenCL/vendors/pocl.icd CONVOY_DEVICE=cpu step install-use tools/test_install.sh "$out/gcc"
}

part_rusticl() {
    step rusticl-build build gcc &&
        OCL_ICD_VENDORS=/etc/OpenCL/vendors/rusticl.icd RUSTICL_ENABLE=llvmpipe CONVOY_TEST_DEVICE=llvmpipe \
            MESA_SHADER_CACHE_DIR=$out/cache/mesa CONVOY_TEST_QUICK=tiny run_ctest rusticl-tests gcc \
            -R '^ops/test_(conv2d_gpu|gemm|gemm_batched|pool2d|batchnorm|loss|elementwise|optimizer)$'
}

part_devices() {
    step devices-build build gcc || return
    step devices-agree tools/compare_devices.sh "$out/gcc/convoy"
    # Which drivers there were, and which were absent, belongs in the report.
    grep '^|' "$logs/devices-agree.log" | sed 's/^/    /'
}

# The library and the one test that is about threads. tools/tsan.supp names the drivers, which no sanitizer sees into.
part_threads() {
    step threads-build build threads train_test_threads &&
        TSAN_OPTIONS=suppressions=$root/tools/tsan.supp:exitcode=66 OCL_ICD_VENDORS=/etc/OpenCL/vendors/pocl.icd \
            CONVOY_TEST_DEVICE=cpu step threads-train "$out/threads/train_test_threads"
}

part_sanitize() {
    # Drivers leak by design; tools/lsan.supp names them, so that Convoy's own leaks still fail a test.
    step sanitize-build build sanitize &&
        CONVOY_TEST_QUICK=1 ASAN_OPTIONS=detect_leaks=1:use_sigaltstack=0 UBSAN_OPTIONS=print_stacktrace=1 \
            LSAN_OPTIONS=suppressions=$root/tools/lsan.supp:print_suppressions=0 run_pocl_tests sanitize-tests sanitize
}

fuzz_target() { # TARGET
    local words=()
    case $1 in pickle | legacy) words=(-dict=tests/fuzz/pickle.dict) ;; esac
    mkdir -p "$out/fuzz-corpus/$1" "$out/fuzz-found"
    TMPDIR=/dev/shm FUZZ_TARGET=$1 "$out/fuzz/fuzz" -max_total_time="${FUZZ_SECONDS:-60}" -runs="${FUZZ_RUNS:--1}" \
        -timeout=10 -max_len=4096 "${words[@]}" -artifact_prefix="$out/fuzz-found/$1-" "$out/fuzz-corpus/$1" \
        "tests/fuzz/corpus/$1"
}

part_faults() {
    step faults-build build gcc &&
        FAULTS=500 OCL_ICD_VENDORS=/etc/OpenCL/vendors/pocl.icd CONVOY_TEST_DEVICE=cpu \
            step faults-long "$out/gcc/faults_test_faults" &&
        WRONG=training,evaluation,selftest OCL_ICD_VENDORS=/etc/OpenCL/vendors/pocl.icd CONVOY_TEST_DEVICE=cpu \
            step faults-wrong "$out/gcc/faults_test_wrong"
    grep -h 'noticed' "$logs/faults-wrong.log" | sed 's/^/    /'
}

part_kills() {
    step kills-build build gcc &&
        KILLS=${KILLS:-1000} CONVOY_DEVICE=host CONVOY_TEST_DEVICE=host step kills "$out/gcc/cli_test_interrupt"
}

# Files of host/, a line each, but for those that define what tools/analysis.h replaces.
list_sources() {
    git ls-files 'host/*.c' | grep -v '^host/base/\(status\|node\|given\)\.c$'
}

tidy() { # a file is compiled for several targets: once is enough
    python3 - "$out/gcc/compile_commands.json" "$out/tidy/compile_commands.json" <<'PYTHON'
import json, sys
commands = {entry["file"]: entry for entry in json.load(open(sys.argv[1]))}
json.dump(list(commands.values()), open(sys.argv[2], "w"))
PYTHON
    list_sources | xargs -P "$jobs" -n 4 clang-tidy --quiet -p "$out/tidy" --extra-arg=-include \
        --extra-arg="$root/tools/analysis.h" --extra-arg="-I$root/host" --extra-arg="-I$root/include"
}

# The warnings that are left out are mostly wrong in gcc 12: it loses allocations that a longer-lived struct holds, and
# what a function that it does not see has written (tools/docs/fuzzing.md).
analyze() {
    list_sources | xargs -P "$jobs" -I @ gcc -fanalyzer -Werror -std=c11 -O1 -D_GNU_SOURCE -DCL_TARGET_OPENCL_VERSION=120 \
        -Wno-analyzer-malloc-leak -Wno-analyzer-use-of-uninitialized-value -Wno-analyzer-null-dereference \
        -Ihost -Iinclude -include tools/analysis.h -c -o /dev/null @
}

part_static() {
    mkdir -p "$out/tidy"
    if [ "$install" = yes ] && ! tools/install_packages.sh static; then
        step static-packages false
        return
    fi
    step static-configure cmake -C tools/presets/gcc.cmake -S . -B "$out/gcc" -G Ninja || return
    step static-tidy tidy
    step static-analyzer analyze
    step static-scripts tools/check_source.sh scripts
    part_threads
}

part_fuzz() {
    local target
    if ! command -v clang >/dev/null; then
        echo "fuzz: clang is not installed: apt-get install clang"
        skipped=$((skipped + 1))
        return
    fi
    step fuzz-build build fuzz || return
    for target in ${FUZZ_TARGETS:-$(ls tests/fuzz/corpus)}; do
        step "fuzz-$target" fuzz_target "$target"
        sed -n 's/^Done/    &/p' "$logs/fuzz-$target.log"
    done
}

# Every kernel of kernels/ by name, as clang sees it.
list_kernels() {
    local file
    for file in kernels/*.cl kernels/*/*.cl; do
        clang -x cl -cl-std=CL1.2 -Xclang -finclude-default-header -target spir64-unknown-unknown -O0 -S -emit-llvm \
            -w -Ikernels -o - "$file" | sed -n 's/^define .*spir_kernel void @\([A-Za-z0-9_]*\)(.*/\1/p'
    done | sort -u
}

no_kernel_left_out() { # FOLDER
    local left_out
    list_kernels >"$1/all"
    sort -u "$1"/*.kernels >"$1/ran"
    left_out=$(comm -23 "$1/all" "$1/ran")
    [ -s "$1/all" ] || return 1
    [ -z "$left_out" ] || {
        echo "these kernels never ran under Oclgrind:"
        echo "$left_out"
        return 1
    }
}

# A device of small work-groups and little local memory, on which CLBlast does not run.
tight=(--max-wgsize 64 --local-mem-size 16384)

# It trains mnist_cnn with the variants for GPUs, and Oclgrind finds nothing.
train_under_tight_limits() { # FOLDER
    oclgrind "${tight[@]}" --log "$1/train" "$out/gcc/convoy" train models/mnist_cnn.yaml --data fashion-mnist \
        --device Oclgrind --variant conv2d=tile_gpu,gemm=tile_gpu --epochs 1 --batch-size 8 --limit-train 8 \
        --limit-test 8 --out "$1/run" && [ ! -s "$1/train" ]
}

finish_training() { # PROCESS FOLDER
    local code=0
    wait "$1" || code=$?
    cat "$2/train.output"
    return $code
}

part_oclgrind() {
    local folder=$out/oclgrind training line
    step oclgrind-build build gcc || return
    rm -rf "$folder"
    mkdir -p "$folder"
    # On one core, beside the tests.
    train_under_tight_limits "$folder" >"$folder/train.output" 2>&1 </dev/null &
    training=$!
    # The tests that launch kernels on their own: those of the ops, and of what all kernels include. test_choice is
    # about a file, and runs CLBlast's kernels, which want more local memory than Oclgrind has.
    find "$out/gcc" -maxdepth 1 -type f -executable \( -name 'ops_test_*' -o -name device_test_common \) \
        ! -name ops_test_choice | sort |
        xargs -P "$jobs" -n 1 tools/test_oclgrind.sh "$folder" | tee "$folder/results"
    printf '%s\n' "$out"/gcc/ops_test_{gemm,gemm_batched,linear} |
        xargs -P "$jobs" -I @ tools/test_oclgrind.sh "$folder/tight" @ "${tight[@]}" |
        sed -u 's/ops_test_/tight_test_/' | tee -a "$folder/results"
    while read -r line; do
        case $line in
        ok*) passed=$((passed + 1)) ;;
        skipped*) skipped=$((skipped + 1)) ;;
        FAILED*)
            failed=$((failed + 1))
            failures+=("oclgrind: $(awk '{ print $2 }' <<<"$line")")
            ;;
        esac
    done <"$folder/results"
    step oclgrind-all-kernels no_kernel_left_out "$folder"
    step oclgrind-tight-limits finish_training $training "$folder"
}

start=$SECONDS
for part in "${parts[@]}"; do
    "part_$part"
done

echo
printf '%d s. ' $((SECONDS - start))
[ ${#failures[@]} -eq 0 ] || printf 'Failed: %s\n' "$(printf '%s, ' "${failures[@]}" | sed 's/, $//')"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
