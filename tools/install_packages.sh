#!/bin/sh
# Installs the Debian 12 packages that Convoy needs and that are missing; does nothing, without any privilege,
# when all are there.
#
#   tools/install_packages.sh build   compilers, libraries, PoCL (the CPU's OpenCL driver), Fashion-MNIST
#   tools/install_packages.sh test    the same and what tools/test.sh needs on top
#   tools/install_packages.sh static  the same and what `tools/test.sh static` needs, which is run by hand
#
# Downloads go through apt-get. On another system it prints what to install and fails.
set -eu

build="gcc libc6-dev cmake ninja-build pkg-config ocl-icd-opencl-dev opencl-headers pocl-opencl-icd libclblast-dev
zlib1g-dev libyaml-dev libjansson-dev libpng-dev libjpeg62-turbo-dev libxxhash-dev libzip-dev libcairo2-dev fonts-dejavu-core
libwebp-dev libtiff-dev libgif-dev dataset-fashion-mnist"
test="libcmocka-dev g++ clang libclang-rt-dev lld clang-format shellcheck pyflakes3 clang-15 lld-15 libclc-15 rocm-device-libs llvm-spirv-15
spirv-tools intel-opencl-icd oclgrind mesa-opencl-icd ocl-icd-libopencl1 git locales
libopenmpi-dev openmpi-bin libmpich-dev mpich"
static="clang-tidy python3"

case "${1:-}" in
build) wanted=$build ;;
test) wanted="$build $test" ;;
static) wanted="$build $test $static" ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "install_packages.sh: this system has no apt-get; install what these Debian packages hold:" >&2
    echo "$wanted" >&2
    exit 1
fi

missing=""
for package in $wanted; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "install_packages.sh: missing:$missing" >&2
        echo "install_packages.sh: run this as root, or install sudo" >&2
        exit 1
    fi
    as_root=sudo
fi

echo "install_packages.sh: installing$missing" >&2
install() {
    # shellcheck disable=SC2086 # the lists are words
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing \
        </dev/null >&2
}
# Package lists that are absent or out of date show up as a failure to find or fetch: refresh them and try again.
if ! install; then
    $as_root apt-get update -q </dev/null >&2 || true
    if ! install; then
        echo "install_packages.sh: apt-get could not install:$missing" >&2
        echo "install_packages.sh: Convoy is developed on Debian 12; elsewhere the packages' names may differ" >&2
        exit 1
    fi
fi
