#!/usr/bin/env bash
# Installs a build into an empty folder, moves it, and builds the program in the first comment of <convoy.h> against it as
# its users would: through pkg-config with the shared and with the static library, and through find_package(Convoy).
# Each of the three trains, evaluates, saves, loads and predicts on synthetic images, and the program with the shared
# library measures kernel variants in the installed helper; another one runs under AddressSanitizer, also on images that
# are smaller and larger than the model's, and on those of a model with a border.
#
#   tools/test_install.sh BUILD-FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
build=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/first" >/dev/null
mv "$work/first" "$work/moved"
prefix=$work/moved
libraries=$(dirname "$(find "$prefix" -name libconvoy.a)")
export PKG_CONFIG_PATH=$libraries/pkgconfig
for file in bin/convoy libexec/convoy/convoy-helper include/convoy.h share/convoy/models/lenet.yaml share/doc/convoy/LICENSE; do
    [ -e "$prefix/$file" ] || {
        echo "test_install.sh: the installation lacks $file"
        exit 1
    }
done

sed -n '/---- program ----/,/---- end of program ----/p' "$prefix/include/convoy.h" | sed '1d;$d' >"$work/program.c"
[ -s "$work/program.c" ] || {
    echo "test_install.sh: include/convoy.h has no program between its marks"
    exit 1
}

# try NAME PROGRAM: runs it in a folder of its own. The model is small enough for any device.
try() {
    mkdir "$work/run_$1"
    echo "== $1"
    (cd "$work/run_$1" && "$2" "$root/tests/models/tiny.yaml" synthetic)
    [ -s "$work/run_$1/weights.safetensors" ]
}

cd "$work"
strict="-std=c11 -O1 -Wall -Wextra -Werror"
# shellcheck disable=SC2046,SC2086 # flags are words
cc $strict program.c -o shared $(pkg-config --cflags --libs convoy) -Wl,-rpath,"$libraries"
{
    (cd "$prefix/include" && printf '#include <%s>\n' convoy.h convoy/*.h)
    echo 'int main() {
        const convoy_progress_kind kinds[] = {CONVOY_PROGRESS_START, CONVOY_PROGRESS_EPOCH};
        convoy_progress progress{};
        progress.kind = kinds[1];
        return convoy_error_message()[0];
    }'
} >headers.cpp
# shellcheck disable=SC2046
clang++ -std=c++17 -Wall -Wextra -Wpedantic -Werror headers.cpp -o headers $(pkg-config --cflags --libs convoy) -Wl,-rpath,"$libraries"
./headers
# shellcheck disable=SC2046,SC2086
cc $strict program.c -o static $(pkg-config --static --cflags --libs convoy | sed 's/-lconvoy/-l:libconvoy.a/')
if ldd ./static | grep -q libconvoy; then
    echo "test_install.sh: the static program needs libconvoy.so"
    exit 1
fi
# Images of 28x28 for a model of 12x12, of 34x34, and of 32x32 with a border of 2.
# shellcheck disable=SC2046,SC2086
cc $strict -g -fsanitize=address,undefined -fno-sanitize-recover=undefined program.c -o checked \
    $(pkg-config --cflags --libs convoy) -Wl,-rpath,"$libraries"
python3 - <<'END'
import struct
for split in "train", "t10k":
    for name, kind, shape in ("images", 3, (64, 28, 28)), ("labels", 1, (64,)):
        with open(f"{split}-{name}-idx{kind}-ubyte", "wb") as file:
            file.write(bytes([0, 0, 8, kind]) + struct.pack(f">{kind}I", *shape))
            file.write(bytes(i * 37 % 251 if kind == 3 else i % 10 for i in range(64 * (784 if kind == 3 else 1))))
END
mkdir idx
mv ./*-ubyte idx
sed 's/12, 12/34, 34/' "$root/tests/models/tiny.yaml" >large.yaml
sed -e 's/12, 12/32, 32/' -e 's/^recipe:/&\n  border: 2/' "$root/tests/models/tiny.yaml" >border.yaml
for model in "$root/tests/models/tiny.yaml" large.yaml border.yaml; do
    echo "== $model and images of 28x28 under AddressSanitizer"
    ASAN_OPTIONS=detect_leaks=0 ./checked "$model" idx
done
try pkg-config-shared "$work/shared"
try pkg-config-static "$work/static"

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
mkdir run_tuning
echo "== tuning"
if ! (cd run_tuning && CONVOY_TUNE=5 CONVOY_LOG=debug CONVOY_CACHE_DIR=$work/cache "$work/shared" ../large.yaml synthetic) \
    >tuning.log 2>&1 || ! grep -q conv2d cache/tuning.txt; then
    echo "test_install.sh: the installed library measured nothing:"
    cat tuning.log
    exit 1
fi

mkdir project
mv program.c project/
cat >project/CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.25)
project(user LANGUAGES C)
find_package(Convoy 0.1 REQUIRED)
foreach(kind convoy static)
  add_executable(with_${kind} program.c)
  target_link_libraries(with_${kind} PRIVATE Convoy::${kind})
endforeach()
END
cmake -S project -B project/build -G Ninja -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build project/build
try find-package-shared "$work/project/build/with_convoy"
try find-package-static "$work/project/build/with_static"
"$prefix/bin/convoy" --version
