#!/usr/bin/env bash
# The house as separate processes on this machine: one orchestrator, one compute-core and three
# workers, with what they keep under ./data/local. They meet at Unix sockets there; command lines
# find the orchestrator at its port. Ctrl-C stops all of them.
set -euo pipefail
cd "$(dirname "$0")/.."

# Relative, because a socket's path has room for 107 bytes and a checkout may lie deep.
data=data/local
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
  # Workers first: a task in hand can be reported only while the others are there.
  end "${pids[@]:2}"
  end "${pids[@]:0:2}"
  echo "local: stopped"
}

end() { # pids
  for pid in "$@"; do
    kill -TERM "$pid" 2>/dev/null || true # it may have ended by itself
  done
  for pid in "$@"; do
    wait "$pid" || true
  done
}

trap 'stop; exit 0' INT TERM

PANGEA_COMPUTE_CORE__GRPC__UNIX_SOCKET="$data/compute-core.sock" \
  start compute-core pangea-compute-core compute-core.toml
PANGEA_ORCHESTRATOR__DATA_DIR="$data/orchestrator" \
PANGEA_ORCHESTRATOR__GRPC__UNIX_SOCKET="$data/orchestrator.sock" \
PANGEA_ORCHESTRATOR__COMPUTE="unix:$data/compute-core.sock" \
  start orchestrator pangea-orchestrator orchestrator.toml
for n in 1 2 3; do
  PANGEA_TRAINING_WORKER__ID="worker-$n" \
  PANGEA_TRAINING_WORKER__ORCHESTRATOR="unix:$data/orchestrator.sock" \
  PANGEA_TRAINING_WORKER__COMPUTE="unix:$data/compute-core.sock" \
  PANGEA_TRAINING_WORKER__HTTP__LISTEN="127.0.0.1:$((8080 + n))" \
    start "worker-$n" pangea-training-worker training-worker.toml
done

cat <<ADDRESSES
local: orchestrator  gRPC 127.0.0.1:50051, http://127.0.0.1:8080
local: compute-core  gRPC 127.0.0.1:50053, http://127.0.0.1:9091
local: workers       http://127.0.0.1:8081, http://127.0.0.1:8082, http://127.0.0.1:8083
local: data          $PWD/$data
local: Ctrl-C stops all of them
ADDRESSES

# One process that ends by itself ends the others: half a house trains nothing.
status=0
wait -n "${pids[@]}" || status=$?
echo "local: a process ended with status $status" >&2
stop
exit 1
