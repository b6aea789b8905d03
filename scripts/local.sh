#!/usr/bin/env bash
# The house as separate processes on this machine: one orchestrator, one compute-core and three
# workers, with what they keep under ./data/local. Ctrl-C stops all of them.
set -euo pipefail
cd "$(dirname "$0")/.."

data="$PWD/data/local"
mkdir -p "$data"
cargo build --release -p orchestrator -p compute-core -p training-worker --bins
binaries="${CARGO_TARGET_DIR:-target}/release"

# Each process gets its own group, so that Ctrl-C reaches this script alone and every process is
# told once, by `stop`.
set -m
pids=()

# Starts one process; its lines are prefixed with its name. Settings come from the environment.
start() { # name, binary, config
  local name="$1" binary="$2" config="$3"
  "$binaries/$binary" --config "config/$config" \
    > >(trap '' INT TERM; exec sed -u "s/^/$(printf '%-14s' "$name")| /") 2>&1 &
  pids+=("$!")
}

stop() {
  trap '' INT TERM
  echo "local: stopping"
  for pid in "${pids[@]}"; do
    kill -TERM "$pid" 2>/dev/null || true # it may have ended by itself
  done
  wait "${pids[@]}" || true
  echo "local: stopped"
}

trap 'stop; exit 0' INT TERM

PANGEA_ORCHESTRATOR__DATA_DIR="$data/orchestrator" \
  start orchestrator pangea-orchestrator orchestrator.toml
start compute-core pangea-compute-core compute-core.toml
for n in 1 2 3; do
  PANGEA_TRAINING_WORKER__ID="worker-$n" \
  PANGEA_TRAINING_WORKER__HTTP__LISTEN="127.0.0.1:$((8080 + n))" \
    start "worker-$n" pangea-training-worker training-worker.toml
done

cat <<ADDRESSES
local: orchestrator  gRPC 127.0.0.1:50051, http://127.0.0.1:8080
local: compute-core  gRPC 127.0.0.1:50053, http://127.0.0.1:9091
local: workers       http://127.0.0.1:8081, http://127.0.0.1:8082, http://127.0.0.1:8083
local: data          $data
local: Ctrl-C stops all of them
ADDRESSES

# One process that ends by itself ends the others: half a house trains nothing.
status=0
wait -n "${pids[@]}" || status=$?
echo "local: a process ended with status $status" >&2
stop
exit 1
