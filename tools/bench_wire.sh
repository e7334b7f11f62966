#!/usr/bin/env bash
# Training steps of two ranks whose only wire is as slow as it is said to be: `convoy bench` in two network namespaces
# with a virtual cable between them, its rate limited in both directions. Shows the step with and without overlap, from
# one run, and what it consists of.
#
#   tools/bench_wire.sh [-r RATE] CONVOY bench MODEL [OPTION...]
#
# RATE as tc writes it, 1gbit by default. Needs root, iproute2 and Open MPI. Whatever it makes is gone when it ends.
set -euo pipefail

rate=1gbit
while getopts r: option; do
    case $option in
    r) rate=$OPTARG ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
if [ $# -lt 3 ]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
for program in ip tc mpirun.openmpi unshare; do
    command -v "$program" >/dev/null || { echo "$program is missing: install iproute2, util-linux and openmpi-bin" >&2; exit 2; }
done

name=convoy-$$
folder=$(mktemp -d)
clean_up() {
    for i in 0 1; do
        ip netns delete "$name-$i" 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap clean_up EXIT

for i in 0 1; do
    ip netns add "$name-$i"
    ip -n "$name-$i" link set lo up
done
ip link add wire0 netns "$name-0" type veth peer name wire1 netns "$name-1"
for i in 0 1; do
    ip -n "$name-$i" addr add "10.77.0.$((i + 1))/24" dev "wire$i"
    ip -n "$name-$i" link set "wire$i" up
    tc -n "$name-$i" qdisc add dev "wire$i" root tbf rate "$rate" burst 64kb latency 50ms
done

# What mpirun calls instead of ssh: HOST COMMAND...
cat >"$folder/enter" <<SCRIPT
#!/bin/sh
shift
exec ip netns exec $name-1 unshare --uts sh -c 'hostname wire1; exec sh -c "\$0"' "\$*"
SCRIPT
chmod +x "$folder/enter"

echo "wire: $rate each way" >&2
# shellcheck disable=SC2016
ip netns exec "$name-0" unshare --uts sh -c 'hostname wire0; exec "$@"' sh \
    mpirun.openmpi --allow-run-as-root --host 10.77.0.1,10.77.0.2 --bind-to none \
    --mca plm_rsh_agent "$folder/enter" --mca pml ob1 --mca btl tcp,self --mca btl_tcp_if_include 10.77.0.0/24 \
    --mca oob_tcp_if_include 10.77.0.0/24 -n 2 "$@"
