#!/usr/bin/env bash
# The portability matrix, tests/matrix/: one JSON file for each device, driver and version, as `convoy selftest --json`
# writes it.
#
#   tools/matrix.sh check FILE...   does a file fit tests/matrix/schema.json, and hold nothing about people or machines?
#   tools/matrix.sh add [--without-rates] FILE      checks it and puts it in place, under the device's name; without images
#                                   per second where the machine was not the test's alone
#   tools/matrix.sh page            writes tests/matrix/README.md and known_bad.json from what is there
#   tools/matrix.sh run [NAME...]   fills the rows of this machine with $CONVOY (build/convoy), then the page:
#                                   host, drivers (those of /etc/OpenCL/vendors), intel (Intel's CPU runtime, from PyPI
#                                   into build-test/intel), oclgrind, compiled (targets that need no device: $TARGETS)
#
# LEVEL says how thorough it is (--quick; "" for all shapes, --full). Oclgrind, which is a thousand times slower, llvmpipe,
# which takes seconds to compile a kernel, and the host are always asked for --quick.
set -uo pipefail
from=$PWD
cd "$(dirname "$0")/.." || exit
convoy=${CONVOY:-build/convoy}
level=${LEVEL-}
out=$PWD/build-test/matrix
wrong=0

# selftest DEVICE [LEVEL] [WRAPPER...]: the exit code 1 of a device that fails is a row like others.
selftest() {
    local device=$1 how=$2 code=0
    shift 2
    # shellcheck disable=SC2086 # a level may be no word at all
    "$@" "$convoy" selftest --device "$device" $how --json "$out/row.json" || code=$?
    if [ $code -gt 1 ]; then
        echo "matrix.sh: $device could not be tested" >&2
        wrong=1
        return
    fi
    python3 tools/matrix.py add "$out/row.json" || wrong=1
}

# Every device of one .icd file.
run_driver() { # ICD [LEVEL]
    local id name vendors
    vendors=$out/vendors-$(basename "$1" .icd) # not every loader takes a single file
    mkdir -p "$vendors"
    cp -f "$1" "$vendors/"
    while IFS=$'\t' read -r id name; do
        case $name in
        *llvmpipe*) OCL_ICD_VENDORS=$vendors selftest "$id" --quick ;;
        *) OCL_ICD_VENDORS=$vendors selftest "$id" "${2-$level}" ;;
        esac
    done < <(OCL_ICD_VENDORS=$vendors "$convoy" devices --json 2>/dev/null | python3 -c '
import json, sys
for device in json.load(sys.stdin)["devices"]:
    if device["type"] != "host":
        print(device["id"], device["name"], sep="\t")')
}

run_host() {
    selftest host --quick # it is the reference itself, and slow
}

run_drivers() {
    local icd
    export RUSTICL_ENABLE=llvmpipe
    for icd in /etc/OpenCL/vendors/*.icd; do
        [ ! -e "$icd" ] || run_driver "$icd"
    done
}

run_intel() {
    local folder=$PWD/build-test/intel libraries
    mkdir -p "$folder/vendors"
    if [ ! -e "$folder/done" ]; then
        pip download --quiet --no-deps --dest "$folder" intel-opencl-rt intel-cmplr-lib-rt tbb tcmlib &&
            (cd "$folder" && for wheel in *.whl; do python3 -m zipfile -e "$wheel" .; done) && touch "$folder/done"
    fi
    libraries=$(printf '%s:' "$folder"/*.data/data/lib)
    if [ ! -e "$folder/done" ]; then
        echo "matrix.sh: intel-opencl-rt could not be had from PyPI" >&2
        return
    fi
    find "$folder" -name libintelocl.so >"$folder/vendors/intel_cpu.icd"
    LD_LIBRARY_PATH=${libraries%:} run_driver "$folder/vendors/intel_cpu.icd"
}

run_oclgrind() {
    command -v oclgrind >/dev/null && selftest Oclgrind "--quick --limit 3600" oclgrind --log "$out/oclgrind.log"
}

# Target by target, so that each has a row.
run_compiled() {
    local target file date
    date=$(date -u +%F)
    {
        for target in ${TARGETS-gfx803 gfx906 gfx1030 gfx1100 sm_70 skl tgl dg2 pvc spirv}; do
            for file in kernels/*.cl kernels/*/*.cl; do
                [[ $file == *_cpu* && $target != spirv ]] || echo "$target $file"
            done
        done
    } | xargs -P "$(nproc)" -L 1 bash -c 'said=$(CONVOY_TARGETS=$0 tools/compile_offline.sh "$1" 2>&1); echo "$0 $1 $? ${said%%$'"'\\n'"'*}"' |
        sort | python3 -c '
import json, os, sys
path = "tests/matrix/compiled.json"
before = json.load(open(path)) if os.path.exists(path) else []
rows = {}
for line in sys.stdin:
    target, file, code, reason = (line.split(None, 3) + [""])[:4]
    row = rows.setdefault(target, {"target": target, "compiler": "", "files": 0, "passed": 0, "failed": [], "reason": "", "date": "'"$date"'"})
    row["files"] += 1
    row["passed"] += code == "0"
    if code != "0":
        row["failed"].append(file)
        row["reason"] = row["reason"] or reason.strip()
for target, row in rows.items():
    row["compiler"] = sys.argv[2] if target in ("skl", "tgl", "dg2", "pvc") else sys.argv[1]
others = [row for row in before if row["target"] not in rows]
json.dump(sorted(others + list(rows.values()), key=lambda row: row["target"]), open(path, "w"), indent=1)
' "$(clang-15 --version | sed -n '1s/.*\(clang version [0-9.]*\).*/\1/p')" \
            "ocloc $(dpkg-query -W -f '${Version}' intel-opencl-icd 2>/dev/null | sed 's/[-+].*//')"
}

case ${1-} in
check | add | page)
    root=$PWD
    cd "$from" && exec python3 "$root/tools/matrix.py" "$@"
    ;;
run)
    shift
    mkdir -p "$out"
    [ $# -gt 0 ] || set -- host drivers intel oclgrind compiled
    for part in "$@"; do
        case $part in
        host | drivers | intel | oclgrind | compiled) "run_$part" ;;
        *)
            echo "matrix.sh: no part '$part'; there are host, drivers, intel, oclgrind and compiled" >&2
            exit 2
            ;;
        esac
    done
    python3 tools/matrix.py page || wrong=1
    exit $wrong
    ;;
*)
    sed -n '2,16s/^# \{0,1\}//p' "$0"
    [ "${1-}" = --help ] || exit 2
    ;;
esac
