#!/usr/bin/env bash
# The portability matrix, tests/matrix/: one JSON file for each device, driver and version, as `convoy selftest --json`
# writes it.
#
#   tools/matrix.sh check FILE...   does a file fit tests/matrix/schema.json, and hold nothing about people or machines?
#   tools/matrix.sh add [--without-rates | --rates] FILE   checks it and puts it in place, under the device's name, and
#                                   writes the page; without images per second, where the machine was not the test's alone
#                                   (those of the row that is there stay), or those alone
#   tools/matrix.sh page            writes tests/matrix/README.md and known_bad.json from what is there
#   tools/matrix.sh run [NAME...]   fills the rows of this machine with $CONVOY (build/convoy, which is built where it is not
#                                   there), then the page: host, drivers (those of $DRIVERS, /etc/OpenCL/vendors), intel
#                                   (Intel's CPU runtime, from PyPI into build-test/intel), oclgrind, compiled (targets that
#                                   need no device: $TARGETS), trixie (PoCL of Debian 13, and the targets that only its
#                                   compilers know, in a folder; as root). What a part needs and is not here is told.
#
# LEVEL says how thorough it is (--quick; "" for all shapes, --full). Oclgrind, which is a thousand times slower, llvmpipe,
# which takes seconds to compile a kernel, and the host are always asked for --quick. RATES=no leaves images per second as they
# were; RATES=only times five networks (of llvmpipe and the host LeNet), and adds that to rows that are there: for a machine that
# does nothing else.
set -uo pipefail
from=$PWD
cd "$(dirname "$0")/.." || exit
convoy=${CONVOY:-build/convoy}
level=${LEVEL-}
rates=${RATES-}
out=$PWD/build-test/matrix
wrong=0

# selftest DEVICE [LEVEL] [WRAPPER...]: the exit code 1 of a device that fails is a row like others.
selftest() {
    local device=$1 how=$2 code=0
    shift 2
    case "$rates $how" in
    "only "*--limit*) how="--part bench: $how" ;; # of the slow ones LeNet alone
    only*) how="--part bench: --limit 600" ;;
    esac
    # shellcheck disable=SC2086 # a level may be no word at all
    "$@" "$convoy" selftest --device "$device" $how --json "$out/row.json" || code=$?
    if [ $code -gt 1 ]; then
        echo "matrix.sh: $device could not be tested" >&2
        wrong=1
        return
    fi
    case $rates in
    only) python3 tools/matrix.py add --rates "$out/row.json" || wrong=1 ;;
    no) python3 tools/matrix.py add --without-rates "$out/row.json" || wrong=1 ;;
    *) python3 tools/matrix.py add "$out/row.json" || wrong=1 ;;
    esac
}

build_convoy() {
    [ -n "${CONVOY-}" ] || [ -e build/convoy ] || { cmake -S . -B build -G Ninja -DCONVOY_TESTS=OFF && cmake --build build; } >&2 || exit
}

lacks() {
    echo "matrix.sh: left out: $*" >&2
}

# Every device of one .icd file.
run_driver() { # ICD [LEVEL]
    local id name vendors
    vendors=$out/vendors-$(basename "$1" .icd) # not every loader takes a single file
    mkdir -p "$vendors"
    cp -f "$1" "$vendors/"
    while IFS=$'\t' read -r id name; do
        case $name in
        *llvmpipe*) OCL_ICD_VENDORS=$vendors selftest "$id" "--quick --limit 3600" ;;
        *) OCL_ICD_VENDORS=$vendors selftest "$id" "${2-$level}" ;;
        esac
    done < <(OCL_ICD_VENDORS=$vendors "$convoy" devices --json 2>/dev/null | python3 -c '
import json, sys
for device in json.load(sys.stdin)["devices"]:
    if device["type"] != "host":
        print(device["id"], device["name"], sep="\t")')
}

run_host() {
    selftest host "--quick --limit 600" # it is the reference itself, and slow
}

run_drivers() {
    local icd
    export RUSTICL_ENABLE=llvmpipe
    for icd in "${DRIVERS-/etc/OpenCL/vendors}"/*.icd; do
        [ ! -e "$icd" ] || run_driver "$icd"
    done
}

run_intel() {
    local folder=$PWD/build-test/intel libraries
    mkdir -p "$folder/vendors"
    if [ ! -e "$folder/done" ]; then
        python3 -m pip download --quiet --no-deps --dest "$folder" intel-opencl-rt intel-cmplr-lib-rt tbb tcmlib &&
            (cd "$folder" && for wheel in *.whl; do python3 -m zipfile -e "$wheel" .; done) && touch "$folder/done"
    fi
    libraries=$(printf '%s:' "$folder"/*.data/data/lib)
    if [ ! -e "$folder/done" ]; then
        lacks "Intel's CPU runtime: pip (python3-pip) could not get intel-opencl-rt from PyPI"
        return
    fi
    find "$folder" -name libintelocl.so >"$folder/vendors/intel_cpu.icd"
    LD_LIBRARY_PATH=${libraries%:} run_driver "$folder/vendors/intel_cpu.icd"
}

run_oclgrind() {
    if [ "$rates" = only ]; then # a simulator's time says nothing
        return
    elif ! command -v oclgrind >/dev/null; then
        lacks "Oclgrind is not installed (Debian's oclgrind)"
    else
        selftest Oclgrind "--quick --limit 3600" oclgrind --log "$out/oclgrind.log"
    fi
}

# "TARGET COMPILER" and, for each file, "TARGET FILE CODE WHAT-WAS-SAID".
compile_targets() {
    local target compiler file files=() targets=()
    for target in ${TARGETS-gfx803 gfx906 gfx1030 gfx1100 sm_70 sm_90 skl tgl dg2 pvc spirv mali}; do
        if ! compiler=$(tools/compile_offline.sh --compiler "$target" 2>/dev/null); then
            lacks "$target, which no compiler here knows; its row stays as it was"
            continue
        fi
        echo "$target $compiler"
        targets+=("$target")
    done
    for target in "${targets[@]}"; do
        for file in kernels/*.cl kernels/*/*.cl; do
            [[ $file == *_cpu* && $target != spirv ]] || files+=("$target $file")
        done
    done
    # shellcheck disable=SC2016 # for each
    printf '%s\n' "${files[@]}" | xargs -r -P "$(nproc)" -L 1 bash -c '
        said=$(CONVOY_TARGETS=$0 tools/compile_offline.sh "$1" 2>&1)
        echo "$0 $1 $? ${said%%$'"'\\n'"'*}"'
}

run_compiled() {
    [ "$rates" = only ] || compile_targets | python3 tools/matrix.py compiled || wrong=1
}

run_trixie() {
    if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap >/dev/null; then
        lacks "Debian 13: that needs root and Debian's debootstrap"
        return
    fi
    tools/check_fresh.sh trixie matrix drivers || wrong=1
}

case ${1-} in
check | add | page)
    root=$PWD
    cd "$from" && exec python3 "$root/tools/matrix.py" "$@"
    ;;
run)
    shift
    mkdir -p "$out"
    [ $# -gt 0 ] || set -- host drivers intel oclgrind compiled trixie
    for part in "$@"; do
        case $part in
        host | drivers | intel | oclgrind) build_convoy && "run_$part" ;;
        compiled | trixie) "run_$part" ;;
        *)
            echo "matrix.sh: no part '$part'; there are host, drivers, intel, oclgrind, compiled and trixie" >&2
            exit 2
            ;;
        esac
    done
    python3 tools/matrix.py page || wrong=1
    exit $wrong
    ;;
*)
    sed -n '2,22s/^# \{0,1\}//p' "$0"
    [ "${1-}" = --help ] || exit 2
    ;;
esac
