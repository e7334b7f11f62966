#!/usr/bin/env bash
# Compiles one kernel file for GPUs that need not be here:
#
#   tools/compile_offline.sh kernels/FILE.cl [OPTION...]
#   tools/compile_offline.sh --compiler TARGET           the name and version of what compiles for it
#
# AMD's GCN and RDNA, NVIDIA's Volta, Intel's Gen9 and Arc, and SPIR-V that is valid for OpenCL 1.2. Linking finds what
# compiling alone does not: missing built-in functions, too much local memory. Options are tried on the newer of AMD's and of
# Intel's; with -DMMA=1 or -DMMA=2 on NVIDIA's Ampere alone, whose tensor cores have to be in the result. Kernels for CPUs
# become SPIR-V alone. CONVOY_TARGETS ("gfx803 sm_90 pvc spirv mali") names others; mali stands for what the strictest
# driver of OpenCL 1.2 takes: pointers of 32 bits, no extension, 32 KiB of local memory.
#
# Prints what is wrong, and exits with 1 if anything is; with 2 if there is no compiler for a target.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

amd_libraries() { # VERSION-OF-LLVM: where Debian has them
    if [ "$1" -le 16 ]; then echo "/usr/lib/$(gcc -dumpmachine)/amdgcn/bitcode"; else echo "/usr/lib/llvm-$1/lib/clang/$1/amdgcn/bitcode"; fi
}

# The first LLVM here that knows a target: Debian 12's 15 neither gfx1100 nor sm_90.
find_llvm() { # TARGET
    local version
    for version in 15 16 17 18 19 20 21; do
        command -v clang-$version >/dev/null || continue
        case $1 in
        gfx*) [ -e "$(amd_libraries $version)/oclc_isa_version_${1#gfx}.bc" ] || continue ;;
        sm_*) [[ -e /usr/lib/clc/nvptx64--nvidiacl.bc && ($version -gt 15 || $1 != sm_9?) ]] || continue ;;
        *) { command -v llvm-spirv-$version && command -v spirv-val; } >/dev/null || continue ;;
        esac
        echo $version
        return
    done
    echo "no compiler for $1 is installed: clang-15 or newer, with AMD's device libraries, libclc or llvm-spirv that know it" >&2
    return 1
}

is_of_intel() { # TARGET
    [[ $1 != gfx* && $1 != sm_* && $1 != spirv && $1 != mali ]]
}

if [ "$1" = --compiler ]; then
    if is_of_intel "$2"; then
        command -v ocloc >/dev/null || exit 2
        echo "ocloc $(dpkg-query -W -f '${Version}' intel-opencl-icd 2>/dev/null | sed 's/[-+].*//')"
    else
        version=$(find_llvm "$2") || exit 2
        "clang-$version" --version | sed -n '1s/.*\(clang version [0-9.]*\).*/\1/p'
    fi
    exit
fi
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
compile() { # TARGET CLANG-OPTION...
    try "$1" "clang-$llvm" -B "$(dirname "$(readlink -f "$(command -v "clang-$llvm")")")" -x cl -cl-std=CL1.2 -cl-mad-enable \
        -Ikernels "${@:2}" "${options[@]}" "$file"
}
builtins=(-Xclang -finclude-default-header)

compile_nvidia() { # TARGET
    llvm=$(find_llvm "$1") || exit 2
    compile "$1" "${builtins[@]}" -Wno-linker-warnings -target nvptx64-nvidia-nvcl -Xclang -target-cpu -Xclang "$1" \
        -Xclang -mlink-builtin-bitcode -Xclang /usr/lib/clc/nvptx64--nvidiacl.bc -S -o "$folder/ptx" || return
    # NVIDIA's assembler, where there is one that knows the target: the newest have forgotten the old ones.
    ! ptxas --help 2>/dev/null | grep -q "'$1'" || try "$1's assembler" ptxas -arch="$1" -o "$folder/cubin" "$folder/ptx"
}

if [[ " ${options[*]-} " == *" -DMMA="[12]" "* ]]; then
    compile_nvidia sm_80 && try "sm_80's tensor cores" grep 'mma\.sync' "$folder/ptx"
    exit $wrong
fi

# Of the kernels' variables in LLVM's assembly.
# shellcheck disable=SC2317 # called by try
local_memory_fits() { # FILE BYTES
    awk -v most="$2" '/addrspace\(3\) global/ {
        split($1, name, ".")
        type = $0
        sub(/.* global /, "", type)
        sub(/ (undef|zeroinitializer|poison).*/, "", type)
        bytes = type ~ /i64|double/ ? 8 : type ~ /i8/ ? 1 : 4
        for (; match(type, /[0-9]+ x/); type = substr(type, RSTART + RLENGTH))
            bytes *= substr(type, RSTART, RLENGTH - 2)
        used[name[1]] += bytes
    }
    END {
        for (kernel in used)
            if (used[kernel] > most) {
                wrong = 1
                printf "%s takes %d bytes of local memory\n", kernel, used[kernel]
            }
        exit wrong
    }' "$1"
}

compile_mali() {
    llvm=$(find_llvm mali) || exit 2
    compile mali -target spir-unknown-unknown -Xclang -cl-ext=-all -pedantic-errors -Werror -Wno-unused-function -cl-no-stdinc \
        -include opencl-c-base.h -include kernels/builtins.clh -O0 -emit-llvm -S -o "$folder/ll" &&
        try mali local_memory_fits "$folder/ll" 32768 &&
        try mali "clang-$llvm" -target spir-unknown-unknown -x ir -emit-llvm -c "$folder/ll" -o "$folder/bc" &&
        try mali "llvm-spirv-$llvm" --spirv-max-version=1.0 "$folder/bc" -o "$folder/spv" &&
        try mali spirv-val --target-env opencl1.2 "$folder/spv"
}

amd=(gfx906 gfx1030) nvidia=(sm_70) intel=(skl dg2)
[ $# -eq 0 ] || amd=(gfx1030) intel=(dg2)
[[ $file != *_cpu* ]] || amd=() nvidia=() intel=()
spirv=yes mali=no
if [ -n "${CONVOY_TARGETS-}" ]; then
    amd=() nvidia=() intel=() spirv=no
    for gpu in $CONVOY_TARGETS; do
        case $gpu in
        gfx*) amd+=("$gpu") ;;
        sm_*) nvidia+=("$gpu") ;;
        spirv) spirv=yes ;;
        mali) mali=yes ;;
        *) intel+=("$gpu") ;;
        esac
    done
fi
for gpu in "${amd[@]}"; do
    llvm=$(find_llvm "$gpu") || exit 2
    compile "$gpu" "${builtins[@]}" -target amdgcn-amd-amdhsa -mcpu="$gpu" --rocm-device-lib-path="$(amd_libraries "$llvm")" -o "$folder/hsaco"
done
for gpu in "${nvidia[@]}"; do
    compile_nvidia "$gpu"
done
[ $mali = no ] || compile_mali
if [ $spirv = yes ]; then
    llvm=$(find_llvm spirv) || exit 2
    compile spirv "${builtins[@]}" -target spir64-unknown-unknown -O0 -emit-llvm -c -o "$folder/bc" &&
        try spirv "llvm-spirv-$llvm" --spirv-max-version=1.1 "$folder/bc" -o "$folder/spv" &&
        try "SPIR-V of OpenCL 1.2" spirv-val --target-env opencl1.2 "$folder/spv"
fi
# Intel's compiler does not link, and takes most of the time.
for gpu in "${intel[@]}"; do
    command -v ocloc >/dev/null || exit 2
    try "$gpu" ocloc compile -file "$file" -device "${gpu/tgl/tgllp}" -options "-cl-std=CL1.2 -cl-mad-enable -I kernels ${options[*]-}" \
        -out_dir "$folder" -output intel
done
exit $wrong
