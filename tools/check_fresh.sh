#!/usr/bin/env bash
# Runs README's commands in a minimal Debian that has nothing but Debian's base, so that what they need is what they
# install, not what a developer's machine happens to have. To be run as root, with debootstrap, before a release:
#
#   tools/check_fresh.sh [bookworm|trixie] [quickstart|test|byhand|matrix|all] [ARGUMENT...]
#
#   quickstart   tools/quickstart.sh
#   test         tools/test.sh (Debian 12 only)
#   byhand       configure, build and install by hand, then an example against the installation
#   matrix       the two commands of tests/matrix/README.md, with $LEVEL and $RATES, into this folder's rows; under trixie the
#                targets that its compilers alone know, too (not part of all; tools/matrix.sh run trixie)
#
# Each check has a Debian of its own, made anew, and works on a clone of HEAD. ARGUMENTs go to the command of a single
# check: "test source targets", "quickstart --epochs 1". Mirrors, proxies and keys are those of this machine's apt.
# Everything lies in a folder under $TMPDIR (/tmp), which takes 6 GB and is removed at the end; a folder in
# $CONVOY_FRESH_CACHE keeps the downloaded packages for the next time. Prints what each command prints, then one line
# per check; exits with 1 if one fails.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "check_fresh.sh: $*" >&2
    exit 2
}

suite=bookworm
checks=(quickstart test byhand)
case ${1:-} in
bookworm | trixie)
    suite=$1
    shift
    ;;
esac
case ${1:-all} in
quickstart | test | byhand | matrix) checks=("$1") ;;
all) [ "$suite" = bookworm ] || checks=(quickstart byhand) ;;
*) fail "what is '$1'? There are quickstart, test, byhand, matrix and all, after bookworm or trixie" ;;
esac
[ $# -eq 0 ] || shift
[ $# -eq 0 ] || [ ${#checks[@]} -eq 1 ] || fail "arguments belong to a single check"
[ "$(id -u)" -eq 0 ] || fail "run this as root: it makes a Debian and changes into it"
command -v debootstrap >/dev/null && command -v apt-config >/dev/null || fail "this needs apt and the package debootstrap"

work=$(mktemp -d)
mounted=()
# Nothing is removed while anything runs or is mounted in it.
clean_up() {
    local i process
    for process in /proc/[0-9]*; do
        [ "$(readlink "$process/root")" != "$work/debian" ] || kill -9 "${process#/proc/}" || true
    done
    for ((i = ${#mounted[@]} - 1; i >= 0; i--)); do
        umount "${mounted[i]}" || umount --lazy "${mounted[i]}" || return 1
        unset "mounted[i]"
    done
    rm -rf --one-file-system "$work/debian"
}
trap 'clean_up && rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT TERM

mount_at() { # FOLDER MOUNT-OPTION...
    mkdir -p "$1"
    mount "${@:2}" "$1" && mounted+=("$1")
}

# Debian's archives as this machine's apt knows them, one "URI release component" a line.
list_archives() {
    apt-get indextargets --format '$(ORIGIN)|$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        sed -n 's/^Debian|//p' | sort -u
}
archives=$(list_archives)
if [ -z "$archives" ]; then
    apt-get update -q >&2
    archives=$(list_archives)
fi
here=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
archives=$(grep -E " $here(-updates|-security)? " <<<"$archives" | sed "s/ $here/ $suite/")
mirror=$(sed -n "s/ $suite .*//p" <<<"$archives" | head -n 1)
[ -n "$mirror" ] || fail "this machine's apt knows no archive of Debian"
eval "$(apt-config shell http_proxy Acquire::http::Proxy https_proxy Acquire::https::Proxy)"
[ -z "${http_proxy:-}" ] || export http_proxy
[ -z "${https_proxy:-}" ] || export https_proxy

packages=${CONVOY_FRESH_CACHE:-$work/packages}
mkdir -p "$packages/base-$suite" "$packages/apt-$suite"
packages=$(cd "$packages" && pwd)

# Debian's base with this machine's way to the archives, once; each check gets a copy.
make_base() {
    timeout 1200 debootstrap --variant=minbase --cache-dir="$packages/base-$suite" "$suite" "$work/base" "$mirror" \
        >"$work/debootstrap.log" 2>&1 || {
        tail -n 20 "$work/debootstrap.log" >&2
        fail "debootstrap failed"
    }
    sed 's/^/deb /' <<<"$archives" >"$work/base/etc/apt/sources.list"
    # What fetches, without the hooks of programs that are not there, and without emptying the cache below.
    apt-config dump | grep '^Acquire::' >"$work/base/etc/apt/apt.conf.d/99fetch"
    echo force-unsafe-io >"$work/base/etc/dpkg/dpkg.cfg.d/unsafe-io" # nothing here outlives a crash
    cp -a /etc/apt/auth.conf.d/. "$work/base/etc/apt/auth.conf.d/" 2>/dev/null || true
}

# README's line that starts with these words.
readme() {
    grep -m 1 "^$1" README.md || fail "README.md has no line that starts with '$1'"
}
quickstart=$(readme tools/quickstart.sh)
test=$(readme tools/test.sh)
install=$(readme 'cmake -S')
embedding=$(grep -E '^(cp|cc) .*own_data' tools/docs/embedding.md)
[ -n "$embedding" ]
row=$(grep -E '^tools/' tests/matrix/README.md)
[ -n "$row" ]

# check NAME LIMIT SCRIPT: in a Debian of its own, in a clone of HEAD.
check() {
    local name=$1 limit=$2 script=$3 root=$work/debian start=$SECONDS code=0
    cp -a "$work/base" "$root"
    git clone -q --no-hardlinks . "$root/srv/convoy"
    mount_at "$root/proc" -t proc proc
    mount_at "$root/sys" -t sysfs -o ro sysfs
    mount_at "$root/dev/pts" -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts
    mount_at "$root/var/cache/apt/archives" --bind "$packages/apt-$suite"
    [ "$name" != matrix ] || mount_at "$root/srv/convoy/tests/matrix" --bind tests/matrix
    echo "== $suite, $name: $script"
    timeout "$limit" chroot "$root" /usr/bin/env -i HOME=/root TERM=dumb LEVEL="${LEVEL-}" RATES="${RATES-}" PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        /bin/sh -ec "cd /srv/convoy; $script" </dev/null || code=$?
    clean_up
    if [ $code -eq 0 ]; then
        results+=("ok      $suite $name $((SECONDS - start)) s")
    else
        results+=("FAILED  $suite $name, exit code $code after $((SECONDS - start)) s")
    fi
    [ $code -eq 0 ]
}

wrong=0
results=()
make_base
for name in "${checks[@]}"; do
    case $name in
    quickstart) check quickstart 1800 "$quickstart $*" || wrong=1 ;;
    test) check test 5400 "$test $*" || wrong=1 ;;
    byhand)
        check byhand 1200 "tools/install_packages.sh build
            $install
            cmake -C tools/presets/gcc.cmake -S . -B /tmp/tests -G Ninja 2>&1 | grep libcmocka-dev
            convoy devices
            cd /tmp
            $embedding" || wrong=1
        ;;
    matrix)
        targets="apt-get install -y -q --no-install-recommends clang-17 lld-17 libclc-17 rocm-device-libs-17
            TARGETS='gfx1100 sm_90' tools/matrix.sh run compiled"
        [ "$suite" = trixie ] && [ "${RATES-}" != only ] || targets=
        check matrix 7200 "$row $*
            $targets" || wrong=1
        ;;
    esac
done
printf '%s\n' "${results[@]}"
exit $wrong
