#!/bin/sh
# Kills a random rank of a training on 2 to 4 ranks of this machine, and goes on with it on as many or others, again and
# again; in the end the weights are those of one rank that nobody disturbed.
#
#   tools/kill_ranks.sh [-n KILLS] [-d DEVICE] [-m MPIRUN] CONVOY MODEL
set -eu
kills=50 device=host mpirun=mpirun.openmpi
while getopts n:d:m: option; do
    case $option in
        n) kills=$OPTARG ;;
        d) device=$OPTARG ;;
        m) mpirun=$OPTARG ;;
        *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
convoy=$1 model=$2 folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
random() { # below $1
    echo $(($(od -An -N2 -tu2 /dev/urandom) % $1))
}
train() { # OUT, then more options
    out=$1
    shift
    "$convoy" train "$model" --data synthetic --pieces 4 --limit-train 100 --limit-test 50 --no-pictures --epochs 100000 \
        --checkpoint-every 1000 --out "$out" "$@"
}
resume="" worst=0 i=0
while [ "$i" -lt "$kills" ]; do
    i=$((i + 1))
    ranks=$((2 + $(random 3)))
    rm -f "$folder/log"
    # shellcheck disable=SC2086
    "$mpirun" -n "$ranks" "$convoy" train "$model" --data synthetic --pieces 4 --limit-train 100 --limit-test 50 \
        --no-pictures --epochs 100000 --checkpoint-every 1000 --out "$folder/run" --device "$device" $resume \
        >"$folder/log" 2>&1 </dev/null &
    launcher=$!
    until grep -qs "epoch [0-9]*/100000  train loss" "$folder/log"; do
        kill -0 $launcher 2>/dev/null || { cat "$folder/log"; exit 1; }
        sleep 0.1
    done
    sleep "0.$(random 10)"
    victim=$(pgrep -f "^$convoy train .*--out $folder/run" | shuf -n 1)
    kill -9 "$victim"
    begin=$(date +%s%N)
    wait $launcher || true
    while pgrep -f "^$convoy train .*--out $folder/run" >/dev/null && [ $(($(date +%s%N) - begin)) -lt 20000000000 ]; do
        sleep 0.1
    done
    taken=$((($(date +%s%N) - begin) / 1000000))
    [ "$taken" -le "$worst" ] || worst=$taken
    echo "$i: $ranks ranks, ended in $taken ms"
    resume="--resume"
done
step=$(grep -ao '"step":"[0-9]*"' "$folder/run/checkpoint.safetensors" | grep -o '[0-9]*' | head -n 1)
train "$folder/run" --device "$device" --resume --max-steps $((step + 5)) >/dev/null 2>&1
train "$folder/whole" --device "$device" --max-steps $((step + 5)) >/dev/null 2>&1
cmp "$folder/run/last.safetensors" "$folder/whole/last.safetensors"
[ "$worst" -le 10000 ]
echo "$kills kills, the slowest end in $worst ms; after step $((step + 5)) the same bits"
