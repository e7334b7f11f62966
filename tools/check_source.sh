#!/usr/bin/env bash
# Checks of the source that no compiler makes for us, each a part that can run alone:
#
#   tools/check_source.sh [format] [scripts] [lengths] [kernels] [targets] [floors] [paths] [matrix]
#
# format   clang-format would change nothing, and kernels say kernel, global and local instead of __kernel and so on
# scripts  shellcheck and pyflakes find nothing in the scripts
# lengths  no function is longer than 60 lines, and none in host/ has more than nine parameters; README.md has
#          150 lines at most
# kernels  every kernel file compiles alone as OpenCL C 1.2, with the defaults of its macros,
#          and with no built-in function but those of kernels/builtins.clh, which the language has
# targets  every kernel file compiles for GPUs that need not be here (tools/compile_offline.sh), with the defaults of
#          its macros and with what networks ask for, which the build in $CONVOY_BUILD (build) tells
# floors   a floor of host/ includes only floors below it, speaks OpenCL only where it may, and nothing below
#          cli/ prints to stdout or exits
# paths    no tracked file names a folder of somebody's machine
# matrix   the rows of tests/matrix/ fit their schema, and its page is written from them
#
# Prints what is wrong, and exits with 1 if anything is.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

build=${CONVOY_BUILD:-build}
wrong=0
complain() {
    echo "$*"
    wrong=1
}

check_format() {
    { find host include tests tools -name '*.[ch]' -o -name '*.cpp' | sort; list_kernel_files; } |
        xargs -P "$(nproc)" -n 20 clang-format --dry-run -Werror || complain "format: clang-format -i these files"
    list_kernel_files | xargs grep -nE '\b__(kernel|global|local|constant|private)\b' &&
        complain "format: the lines above spell words of OpenCL C with underscores"
}

list_kernel_files() {
    find kernels -name '*.cl' -o -name '*.clh' | sort
}

check_scripts() {
    shellcheck -S warning tools/*.sh || complain "scripts: see above"
    pyflakes3 tools/*.py || complain "scripts: see above"
    local script
    for script in tools/compare_*.py; do # without any package
        [[ $(python3 -S "$script" --help 2>&1) != *Traceback* ]] || complain "scripts: $script does not say what it needs"
    done
}

# A function begins with a line in column 0 that leads to a {, and ends with a } there: clang-format sees to that.
# Functions that macros make are not seen.
check_lengths() {
    local lines
    lines=$({ find host -name '*.[ch]'; list_kernel_files; } | sort | xargs awk '
        function parameters(text, i, c, depth, count) {
            sub(/.*__attribute__\(\(.*\)\)/, "", text)
            for (i = 1; i <= length(text); i++) {
                c = substr(text, i, 1)
                depth += (c == "(") - (c == ")")
                count += c == "," && depth == 1
            }
            return count + 1
        }
        FNR == 1 { inside = 0; head = "" }
        !inside && /^[A-Za-z_]/ && head == "" { first = FNR; head = " " }
        !inside && head != "" {
            head = head $0
            if (/;$/ || /= \{/ || /^}/)
                head = ""
            else if (/\{$/) {
                inside = head ~ /\(/
                if (inside && FILENAME ~ /^host/ && parameters(head) > 9)
                    printf "%s:%d: %d parameters\n", FILENAME, first, parameters(head)
                head = ""
            }
        }
        /^}/ {
            if (inside && FNR - first + 1 > 60)
                printf "%s:%d: %d lines\n", FILENAME, first, FNR - first + 1
            inside = 0
        }')
    [ -z "$lines" ] || complain "$lines
lengths: at most 60 lines to a function, and nine parameters"
    [ "$(wc -l <README.md)" -le 150 ] || complain "lengths: README.md has more than 150 lines: tools/docs/ has room"
}

check_kernels() {
    local file
    clang -x cl -cl-std=CL1.2 -cl-no-stdinc -include opencl-c.h -fsyntax-only kernels/builtins.clh ||
        complain "kernels: builtins.clh declares what the language does not"
    for file in kernels/*.cl kernels/*/*.cl; do
        [ -e "$file" ] || continue
        clang -x cl -cl-std=CL1.2 -cl-no-stdinc -include opencl-c-base.h -include kernels/builtins.clh -fsyntax-only \
            -Wall -Wno-unused-function -Ikernels "$file" || complain "kernels: $file does not compile alone"
    done
    for file in kernels/gather.cl kernels/resample.cl; do
        clang -x cl -cl-std=CL1.2 -cl-no-stdinc -include opencl-c-base.h -include kernels/builtins.clh -fsyntax-only \
            -DFLOATS=1 -Ikernels "$file" || complain "kernels: $file does not compile for pixels that are floats"
    done
}

# Programs, one a line as arguments of tools/compile_offline.sh: every kernel file with the defaults of its macros, and
# what two of the tutorials' networks build on a GPU.
list_programs() {
    local file precision
    for file in kernels/*.cl kernels/*/*.cl; do
        echo "$file"
        ! grep -q '"local_tile.clh"' "$file" || printf '%s -DMMA=%d\n' "$file" 1 "$file" 2
    done
    echo kernels/augment.cl -DVW=1 -DCHANNELS=3 -DSMOOTH=1 -DTAPS=3 -DCOLOURS=1 -DCONTRASTS=1 -DERASES=1 -DHUES=1 -DFOLD=2
    for precision in float32 tf32 bf16; do
        "$build/gpu_programs" $precision models/alexnet.yaml models/monkeypox_bn.yaml
    done | sed 's|^\([^\t]*\)\t\(.*\)$|kernels/\1.cl \2|; s| *$||'
}

check_targets() {
    local programs
    if ! cmake --build "$build" --target gpu_programs >/dev/null || ! programs=$(set -e; list_programs); then
        complain "targets: $build/gpu_programs does not build or fails; CONVOY_BUILD names a folder that cmake has configured"
        return
    fi
    sort -u <<<"$programs" | xargs -L 1 -P "$(nproc)" tools/compile_offline.sh || complain "targets: see above"
}

# Floors by rank. Data and the network meet only in train/.
declare -A rank=([base]=0 [weights]=1 [device]=2 [ops]=3 [tune]=4 [layers]=5 [model]=6 [network]=7 [data]=8 [train]=9 [report]=10 [selftest]=11 [cli]=12 [mpi]=13)
# The public header of a floor speaks for it: device.h and so on.
declare -A header_rank=([status]=0 [log]=0 [version]=0 [predict]=9 [device]=2 [data]=8 [model]=6 [train]=9)

check_includes() { # file floor
    local included other
    while read -r included; do
        if [[ $included == convoy/* ]]; then
            other=$(basename "$included" .h)
            [ "${header_rank[$other]:-9}" -le "${rank[$2]}" ] || complain "floors: $1 includes <$included>"
            continue
        fi
        other=${included%%/*}
        [ -n "${rank[$other]:-}" ] || continue
        if [ "$other" != "$2" ] && [ "${rank[$other]}" -ge "${rank[$2]}" ]; then
            complain "floors: $1 includes $included, which is not below $2/"
        fi
        # A plugin is linked with nothing of Convoy.
        [ "$2" != mpi ] || [ "$included" = train/transport.h ] || complain "floors: $1 includes $included"
        case $2/$other in
        data/layers | data/model | data/network | layers/tune) complain "floors: $1 includes $included, of which $2/ knows nothing" ;;
        esac
    done < <(sed -n 's/^ *# *include *["<]\([a-z0-9_]*\/[a-z0-9_\/]*\.h\)[">].*/\1/p' "$1")
}

check_floors() {
    local file floor code
    while IFS= read -r file; do
        floor=${file#host/}
        floor=${floor%%/*}
        if [ -z "${rank[$floor]:-}" ]; then
            complain "floors: host/$floor is not a floor that tools/check_source.sh knows"
            continue
        fi
        check_includes "$file" "$floor"
        # Without comments, so that words may speak of what code may not do.
        code=$(gcc -fpreprocessed -dD -E -P "$file" 2>/dev/null)
        if [ "$floor" != cli ]; then
            grep -nE '\b(printf|puts|putchar|vprintf|exit|_exit|quick_exit) *\(|\bstdout\b' <<<"$code" &&
                complain "floors: $file prints to stdout or exits; only host/cli may"
        fi
        if [ "$floor" != device ] && [ "$floor" != ops ]; then
            grep -nE '\b(cl_[a-z]|cl[A-Z][a-z]|CL_[A-Z]|CLBlast)' <<<"$code" &&
                complain "floors: $file speaks OpenCL; only host/device and host/ops may"
        fi
    done < <(find host -name '*.[ch]' | sort)
}

check_paths() {
    # /home/me is nobody's: tests speak of it.
    git grep -nIE '(^|[^A-Za-z0-9_.$}])/(work|home|root|opt|Users)/' -- . | grep -v '/home/me\b' &&
        complain "paths: the lines above name folders of one machine"
}

check_matrix() {
    local row before
    for row in tests/matrix/*.json; do
        case $row in */schema.json | */known_bad.json | */compiled.json) continue ;; esac
        (cd tests && ../tools/matrix.sh check "../$row") >/dev/null || complain "matrix: tools/matrix.sh check $row"
    done
    before=$(cat tests/matrix/README.md tests/matrix/known_bad.json)
    tools/matrix.sh page
    [ "$before" = "$(cat tests/matrix/README.md tests/matrix/known_bad.json)" ] || complain "matrix: its page was out of date"
}

parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(format scripts lengths kernels targets floors paths matrix)
for part in "${parts[@]}"; do
    case $part in
    format | scripts | lengths | kernels | targets | floors | paths | matrix) "check_$part" ;;
    *)
        echo "check_source.sh: no part '$part'; there are format, scripts, lengths, kernels, targets, floors, paths and matrix" >&2
        exit 2
        ;;
    esac
done
exit $wrong
