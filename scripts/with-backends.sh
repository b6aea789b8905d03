#!/usr/bin/env bash
# Runs a command with a LocalStack and a PostgreSQL beside it: `with-backends.sh COMMAND…`. Both are
# empty, listen on free ports of 127.0.0.1, and are gone with their data when the command ends or
# this script is told to stop. The command finds them by
#
#   PANGEA_TEST_AWS_ENDPOINT   http://127.0.0.1:PORT; any credentials will do
#   PANGEA_TEST_POSTGRES       postgres://pangea@127.0.0.1:PORT/postgres; a superuser
#   PANGEA_BACKENDS            the folder with their logs
#
# A variable whose tool is not there is not set. The status is the command's.
set -euo pipefail
(($#)) || { echo "usage: with-backends.sh COMMAND…" >&2; exit 2; }

READY_SECONDS=60 # a cold cache on a busy machine; warm, both take about one second
STOP_SECONDS=10  # what does not end by itself in this time is killed

tools="${PANGEA_TOOLS:-$HOME/.cache/pangea/tools}"
backends="$(cd "$(dirname "$0")" && pwd)/backends"
dir="$(mktemp -d "${TMPDIR:-/tmp}/pangea-backends.XXXXXX")"
export PANGEA_BACKENDS="$dir"
export PATH="$tools/postgresql/bin:$PATH" # for psql
declare -A pids=() ports=()
command=

# Each process gets its own group, so that Ctrl-C reaches this script alone, and so that what the
# command has started is told to stop with it.
set -m

clean_up() {
  trap '' INT TERM HUP
  exec 2>/dev/null # or bash tells of each process that it was killed
  if [[ -n "$command" ]]; then end TERM "$command"; fi
  # LocalStack has nothing to put away. At SIGTERM, PostgreSQL would wait for its sessions to end.
  if [[ -n "${pids[localstack]:-}" ]]; then end KILL "${pids[localstack]}"; fi
  if [[ -n "${pids[postgresql]:-}" ]]; then end INT "${pids[postgresql]}"; fi
  rm -rf "$dir"
}

end() { # signal, leader of a process group
  local until=$((SECONDS + STOP_SECONDS))
  kill "-$1" -- "-$2" || return 0 # it has ended by itself
  while kill -0 -- "-$2" && ((SECONDS < until)); do sleep 0.02; done
  kill -KILL -- "-$2" || true
}

# Below the range from which the system hands out ports, so that no test's port 0 is this one.
free_port() {
  local port
  while port=$((20000 + RANDOM % 10000)); do
    (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

start() { # backend, a file that is there when its tool is
  if [[ ! -e "$tools/$1/$2" ]]; then
    echo "backends: $1 is not there; \`make tools\` sets it up" >&2
    return
  fi
  ports[$1]="$(free_port)"
  : >"$dir/$1.log"
  "$backends/$1.sh" "$dir/$1" "${ports[$1]}" >"$dir/$1.log" 2>&1 {lock}>&- &
  pids[$1]=$!
}

# The server's own word tells that it answers, and that no other process answers at its port.
await() { # backend, what its log says when it is ready
  local until=$((SECONDS + READY_SECONDS))
  [[ -n "${pids[$1]:-}" ]] || return 0
  until grep -q "$2" "$dir/$1.log"; do
    if ! kill -0 "${pids[$1]}" 2>/dev/null || ((SECONDS >= until)); then
      echo "backends: $1 did not start; its log ends with" >&2
      tail -n 20 "$dir/$1.log" >&2
      exit 1
    fi
    sleep 0.02
  done
}

trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# One at a time from the choice of a port until the server has it.
mkdir -p "$tools"
exec {lock}>"$tools/backends.lock"
flock "$lock"
start localstack wanted
start postgresql bin/postgres
await postgresql "ready to accept connections"
await localstack "^Ready\.$"
exec {lock}>&-

if [[ -n "${pids[localstack]:-}" ]]; then
  export PANGEA_TEST_AWS_ENDPOINT="http://127.0.0.1:${ports[localstack]}"
fi
if [[ -n "${pids[postgresql]:-}" ]]; then
  export PANGEA_TEST_POSTGRES="postgres://pangea@127.0.0.1:${ports[postgresql]}/postgres"
fi

"$@" &
command=$!
wait "$command"
