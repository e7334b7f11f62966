#!/usr/bin/env bash
# From a fresh clone to a trained network, on Debian 12: installs what is missing, builds into build/, trains LeNet on
# Fashion-MNIST by its whole recipe on the best device of this machine, and prints the test accuracy.
#
#   tools/quickstart.sh [OPTION-OF-CONVOY-TRAIN...]     say --device host, or --epochs 1
set -euo pipefail
cd "$(dirname "$0")/.."

tools/install_packages.sh build

# Tests need more packages (tools/test.sh installs them). A build folder that is there keeps its settings.
[ -e build/CMakeCache.txt ] || cmake -C tools/presets/release.cmake -S . -B build -G Ninja
cmake --build build

result=$(mktemp)
trap 'rm -f "$result"' EXIT
build/convoy train models/lenet.yaml --json "$@" >"$result"
field() {
    sed -n "s/.*\"$1\": *\"\{0,1\}\([^,\"}]*\).*/\1/p" "$result" | head -n 1
}
out=$(field out)
echo
LC_ALL=C printf 'LeNet on Fashion-MNIST: test accuracy %.4f\n' "$(field test_accuracy)"
echo "Weights, metrics and the model are in $out. Next:"
echo "    build/convoy eval models/lenet.yaml --weights $out/best.safetensors"
echo "    build/convoy devices"
