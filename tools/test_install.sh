#!/usr/bin/env bash
# Installs a build into an empty folder, moves it, and uses it as a stranger would: the programs of tools/examples are
# built as their head comments say, with gcc, clang and g++, through pkg-config with the shared and with the static library
# and through find_package(Convoy), and run, under AddressSanitizer too. Beside that: the symbols of the shared library are
# those of tests/symbols.txt; every header compiles alone as C11 and as C++17, for Windows too; and the library measures
# kernel variants in the installed helper.
#
#   tools/test_install.sh BUILD-FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
build=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "test_install.sh: $*"
    exit 1
}

cmake --install "$build" --prefix "$work/first" >/dev/null
mv "$work/first" "$work/moved"
prefix=$work/moved
libraries=$(dirname "$(find "$prefix" -name libconvoy.a)")
examples=$prefix/share/doc/convoy/examples
tiny=$root/tests/models/tiny.yaml
export PKG_CONFIG_PATH=$libraries/pkgconfig LD_LIBRARY_PATH=$libraries
# The driver leaks by design; tools/lsan.supp names it. Its compiler sets the stack of signals of a thread anew.
export ASAN_OPTIONS=detect_leaks=1:use_sigaltstack=0 LSAN_OPTIONS=suppressions=$root/tools/lsan.supp:print_suppressions=0
for file in bin/convoy libexec/convoy/convoy-helper include/convoy.h share/convoy/models/lenet.yaml \
    share/doc/convoy/LICENSE share/doc/convoy/examples/train.c; do
    [ -e "$prefix/$file" ] || fail "the installation lacks $file"
done

# ---- what the library promises ----

[ "$(objdump -p "$libraries/libconvoy.so" | awk '$1 == "SONAME" { print $2 }')" = libconvoy.so.0.2 ] ||
    fail "the shared library's name is not libconvoy.so.0.2"
nm -D --defined-only "$libraries/libconvoy.so" | awk '{ print $3 }' | LC_ALL=C sort >"$work/symbols"
diff "$root/tests/symbols.txt" "$work/symbols" ||
    fail "the library's symbols (>) are not those of tests/symbols.txt (<): what 0.2 has, it keeps"

while read -r header; do
    for target in x86_64-linux-gnu x86_64-pc-windows-msvc; do
        for language in "c -std=c11" "c++ -std=c++17"; do
            # shellcheck disable=SC2086 # flags are words
            echo "#include <$header>" | clang -x $language -target $target -ffreestanding -nostdlibinc -fsyntax-only \
                -Wall -Wextra -Wpedantic -Werror -I"$prefix/include" - || fail "<$header> as $language for $target"
        done
    done
done < <(cd "$prefix/include" && printf '%s\n' convoy.h convoy/*.h)
# shellcheck disable=SC2028 # C code
echo '#include <convoy.h>
const char *version(void); const char *version(void) { return convoy_version(); }' |
    clang -x c -target x86_64-pc-windows-msvc -ffreestanding -nostdlibinc -S -emit-llvm -I"$prefix/include" -o - - |
    grep -q 'dllimport.*convoy_version' || fail "functions are not imported on Windows"

# ---- the examples ----

# run FOLDER PROGRAM ARGUMENTS...: in a folder of its own, in which nothing is left from before.
run() {
    rm -rf "${work:?}/$1"
    mkdir "$work/$1"
    echo "== $1"
    (cd "$work/$1" && "${@:2}")
}

# What an example is run with; the model is small enough for any device.
arguments() {
    case $1 in
    own_data) ;;
    two_devices) echo "$tiny host cpu" ;;
    predict_pixels) echo "$tiny $work/weights.safetensors" ;;
    own_loop) echo "$tiny synthetic run" ;;
    *) echo "$tiny synthetic" ;;
    esac
}

# The command in the head comment, up to what it runs.
head_command() {
    sed -nE '/^   (cc|c\+\+) /{s/ &&.*//;s/^ *//;p}' "$1"
}

strict="-O1 -g -Wall -Wextra -Wpedantic -Werror"
checked="-fsanitize=address,undefined -fno-sanitize-recover=undefined"
cd "$work"
for name in train.c own_data.c own_loop.c predict_pixels.c stop_early.c two_devices.c train.cpp; do
    [ "$(wc -l <"$examples/$name")" -lt 100 ] || fail "$name has 100 lines or more"
    cp "$examples/$name" .
    command=$(head_command "$name")
    [ -n "$command" ] || fail "$name does not say how it is built"
    compilers=(gcc clang)
    [ "$name" = "${name%.cpp}" ] || compilers=(g++ clang++)
    echo "== $command"
    eval "$command" # as printed
    for compiler in "${compilers[@]}"; do
        eval "$compiler ${command#* }"
    done
    eval "${compilers[0]} $strict $checked ${command#* } -o checked"
    read -ra words <<<"$(arguments "${name%.*}")"
    run "run_$name" "$work/checked" "${words[@]}"
    [ "$name" != train.c ] || cp run_train.c/weights.safetensors .
done

# What each is for: a run folder from which the command goes on; a stop before the last epoch; answers by name.
run resume "$prefix/bin/convoy" train "$tiny" --data synthetic --seed 1 --epochs 4 \
    --out "$work/run_own_loop.c/run" --resume
[ -s "$work/run_stop_early.c/stop_early/best.safetensors" ] || fail "stop_early.c kept no weights"

# A program that knows a shorter struct and a shorter library gets what it knows.
sed 's/\.size = sizeof options/.size = offsetof(convoy_train_options, interrupt)/' train.c >shorter.c
# shellcheck disable=SC2046
gcc shorter.c $(pkg-config --cflags --libs convoy) -o shorter_program
run shorter "$work/shorter_program" "$tiny" synthetic

mkdir project
cp train.c train.cpp project/
cat >project/CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.25)
project(user LANGUAGES C CXX)
set(CMAKE_CXX_STANDARD 17)
find_package(Convoy 0.2 REQUIRED)
foreach(kind convoy static)
  add_executable(with_${kind} train.c)
  add_executable(with_${kind}_cpp train.cpp)
  target_link_libraries(with_${kind} PRIVATE Convoy::${kind})
  target_link_libraries(with_${kind}_cpp PRIVATE Convoy::${kind})
endforeach()
END
cmake -S project -B project/build -G Ninja -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build project/build
run find_package "$work/project/build/with_convoy" "$tiny" synthetic
run find_package_static "$work/project/build/with_static_cpp" "$tiny" synthetic
# With convoy.pc alone: the others' would add the libraries that theirs are made of, which nobody needs to have.
# shellcheck disable=SC2046
cc -std=c11 train.c -o static $(PKG_CONFIG_LIBDIR=$libraries/pkgconfig pkg-config --static --cflags --libs convoy |
    sed 's/-lconvoy/-l:libconvoy.a/')
if ldd ./static | grep -q libconvoy; then
    fail "the static program needs libconvoy.so"
fi
run pkg_config_static "$work/static" "$tiny" synthetic

# ---- tuning in a program of one's own ----

# A convolution that is worth measuring: the library finds the helper of its installation, and keeps its answers.
cat >large.yaml <<'END'
name: large
input: [3, 16, 16]
layers:
  - Conv2d: {out_channels: 64, kernel_size: 3, padding: 1}
  - Conv2d: {out_channels: 64, kernel_size: 3, padding: 1}
  - Flatten
  - Linear: {out_features: 10}
recipe: {data: synthetic, batch_size: 128, optimizer: {SGD: {lr: 0.01}}}
END
export CONVOY_TUNE=5 CONVOY_CACHE_DIR=$work/cache
if ! run tuning "$work/train" ../large.yaml synthetic >tuning.log 2>&1 || ! grep -q conv2d cache/tuning.txt; then
    cat tuning.log
    fail "the installed library measured nothing"
fi
"$prefix/bin/convoy" --version
