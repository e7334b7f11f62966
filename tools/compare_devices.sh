#!/usr/bin/env bash
# The same training run on every OpenCL device of this machine, on Mesa's Rusticl and Oclgrind where installed, and on
# the host: LeNet, 20 steps of 16 images of Fashion-MNIST, whose losses have to agree with the host's within 1e-4.
# Oclgrind interprets every instruction, so its run is 2 steps of mnist_cnn, of 8 images each, compared with the same run
# on the host.
#
#   tools/compare_devices.sh [CONVOY]     the command, by default build/convoy
#
# Prints the portability matrix as a Markdown table. A driver that is not installed is named as absent. Exits with 1 if
# a device fails or its losses differ.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
convoy=${1:-build/convoy}
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT
wrong=0

# train NAME MODEL STEPS BATCH DEVICE WRAPPER... : one loss per line in $runs/NAME.losses. The running loss of the epoch, which
# metrics.csv holds when every step is followed by an evaluation, differs as soon as one step's loss does.
train() {
    local name=$1 model=$2 steps=$3 batch=$4 device=$5
    shift 5
    "$@" "$convoy" train "models/$model.yaml" --data fashion-mnist --device "$device" --epochs 1 --batch-size "$batch" \
        --limit-train $((steps * batch)) --limit-test 16 --eval-every 1 --seed 1 --out "$runs/$name" \
        >"$runs/$name.log" 2>&1 </dev/null || return 1
    awk -F, 'NR > 1 && !seen[$2]++ { print $3 }' "$runs/$name/metrics.csv" >"$runs/$name.losses"
    [ "$(wc -l <"$runs/$name.losses")" -eq "$steps" ]
}

# row TITLE NAME REFERENCE MODEL STEPS BATCH DEVICE WRAPPER...: trains, compares, prints a row.
row() {
    local title=$1 name=$2 reference=$3 model=$4 steps=$5 batch=$6 worst verdict=agrees
    if ! train "$name" "$model" "$steps" "$batch" "${@:7}"; then
        echo "| $title | $model | $steps × $batch | | failed: $(tail -n 1 "$runs/$name.log" | tr '|' ' ') |"
        return 1
    fi
    worst=$(paste "$runs/$reference.losses" "$runs/$name.losses" |
        awk '{ d = $1 - $2; if (d < 0) d = -d; if (d > worst) worst = d; if (d != d) worst = 1 }
             END { printf "%.1e", worst }')
    awk -v worst="$worst" 'BEGIN { exit !(worst <= 1e-4) }' || verdict=differs
    echo "| $title | $model | $steps × $batch | $worst | $verdict |"
    [ $verdict = agrees ]
}

# Rows are made side by side, for most of their time goes into compiling, which takes one core; they print in order.
rows=()
start_row() {
    row "$@" >"$runs/${#rows[@]}.row" &
    rows+=($!)
}
finish_rows() {
    local i
    for i in "${!rows[@]}"; do
        wait "${rows[i]}" || wrong=1
        cat "$runs/$i.row"
    done
}

# Rusticl shows llvmpipe only when asked to.
export RUSTICL_ENABLE=llvmpipe
if ! "$convoy" devices --json >"$runs/devices.json" 2>"$runs/devices.log"; then
    cat "$runs/devices.log" >&2
    exit 1
fi
# One "id<TAB>name (platform)" per line.
tr '\n' ' ' <"$runs/devices.json" | sed 's/}/}\n/g' |
    sed -n 's/.*"id": *"\([^"]*\)".*"name": *"\([^"]*\)", *"platform": *"\([^"]*\)".*/\1\t\2 (\3)/p' >"$runs/devices"

echo "| device | model | steps × batch | largest difference of a loss | |"
echo "|---|---|---|---|---|"
if ! train host lenet 20 16 host || ! train host_tiny mnist_cnn 2 8 host; then
    echo "| host | | | | failed: $(cat "$runs"/host*.log | tail -n 1) |"
    exit 1
fi
echo "| host | lenet | 20 × 16 | the reference | |"
while IFS=$'\t' read -r id title; do
    [ "$id" = host ] || start_row "$title" "device_${id/:/_}" host lenet 20 16 "$id"
done <"$runs/devices"
! command -v oclgrind >/dev/null ||
    start_row Oclgrind oclgrind host_tiny mnist_cnn 2 8 Oclgrind oclgrind --log "$runs/oclgrind.found"
finish_rows
for driver in "Portable Computing Language" rusticl; do
    grep -qi "$driver" "$runs/devices" || echo "| $driver | | | | absent: not installed |"
done
if ! command -v oclgrind >/dev/null; then
    echo "| Oclgrind | | | | absent: not installed |"
elif [ -s "$runs/oclgrind.found" ]; then
    echo "Oclgrind's log is not empty:" >&2
    head -n 20 "$runs/oclgrind.found" >&2
    wrong=1
fi
exit $wrong
