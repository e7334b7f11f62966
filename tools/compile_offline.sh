#!/usr/bin/env bash
# Compiles one kernel file for GPUs that need not be here:
#
#   tools/compile_offline.sh kernels/FILE.cl [OPTION...]
#
# AMD's GCN and RDNA, NVIDIA's Volta, Intel's Gen9 and Arc, and SPIR-V that is valid for OpenCL 1.2. Linking finds what
# compiling alone does not: missing built-in functions, too much local memory. Options are tried on the newer of AMD's and of
# Intel's; with -DMMA=1 or -DMMA=2 on NVIDIA's Ampere alone, whose tensor cores have to be in the result. Kernels for CPUs
# become SPIR-V alone. CONVOY_TARGETS ("gfx803 sm_90 pvc spirv") names others.
#
# Prints what is wrong, and exits with 1 if anything is.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
file=$1
shift
options=("$@")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
wrong=0

# try TARGET COMMAND...: what the command prints matters only when it fails.
try() {
    local target=$1
    shift
    "$@" >"$folder/log" 2>&1 && return
    cat "$folder/log"
    echo "$file ${options[*]-} does not compile for $target"
    wrong=1
    return 1
}

# -B: the linker of the same LLVM, which reads its bitcode, before another one of the system's.
llvm=$(dirname "$(readlink -f "$(command -v clang-15)")")
compile() { # TARGET CLANG-OPTION...
    try "$1" clang-15 -B "$llvm" -x cl -cl-std=CL1.2 -cl-mad-enable -Xclang -finclude-default-header -Ikernels "${@:2}" "${options[@]}" "$file"
}

compile_nvidia() { # TARGET
    compile "$1" -Wno-linker-warnings -target nvptx64-nvidia-nvcl -Xclang -target-cpu -Xclang "$1" \
        -Xclang -mlink-builtin-bitcode -Xclang /usr/lib/clc/nvptx64--nvidiacl.bc -S -o "$folder/ptx"
}

if [[ " ${options[*]-} " == *" -DMMA="[12]" "* ]]; then
    compile_nvidia sm_80 && try "sm_80's tensor cores" grep 'mma\.sync' "$folder/ptx"
    exit $wrong
fi

amd=(gfx906 gfx1030) nvidia=(sm_70) intel=(skl dg2)
[ $# -eq 0 ] || amd=(gfx1030) intel=(dg2)
[[ $file != *_cpu* ]] || amd=() nvidia=() intel=()
spirv=yes
if [ -n "${CONVOY_TARGETS-}" ]; then
    amd=() nvidia=() intel=() spirv=no
    for gpu in $CONVOY_TARGETS; do
        case $gpu in
        gfx*) amd+=("$gpu") ;;
        sm_*) nvidia+=("$gpu") ;;
        spirv) spirv=yes ;;
        *) intel+=("$gpu") ;;
        esac
    done
fi
for gpu in "${amd[@]}"; do
    compile $gpu -target amdgcn-amd-amdhsa -mcpu=$gpu \
        --rocm-device-lib-path=/usr/lib/"$(gcc -dumpmachine)"/amdgcn/bitcode -o "$folder/hsaco"
done
for gpu in "${nvidia[@]}"; do
    compile_nvidia "$gpu"
done
if [ $spirv = yes ]; then
    compile spirv -target spir64-unknown-unknown -O0 -emit-llvm -c -o "$folder/bc" &&
        try spirv llvm-spirv-15 --spirv-max-version=1.1 "$folder/bc" -o "$folder/spv" &&
        try "SPIR-V of OpenCL 1.2" spirv-val --target-env opencl1.2 "$folder/spv"
fi
# Intel's compiler does not link, and takes most of the time.
for gpu in "${intel[@]}"; do
    try $gpu ocloc compile -file "$file" -device $gpu -options "-cl-std=CL1.2 -cl-mad-enable -I kernels ${options[*]-}" \
        -out_dir "$folder" -output intel
done
exit $wrong
