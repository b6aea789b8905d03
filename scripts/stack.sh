#!/usr/bin/env bash
# shellcheck disable=SC2034 # of the variables, some are for scripts/stack/*.sh
#
# Runs the stack of docker-compose.yml as plain processes, with the same configuration files: real
# programs from `make tools`, our three services, three workers. Says in a table what runs and what
# was left out, and ends everything when it ends.
#
#   stack.sh              until Ctrl-C, at the ports of .env or the usual ones
#   stack.sh COMMAND…     while COMMAND runs, at free ports; its status is the command's
#
# The command finds the parts by PANGEA_SERVER, ORCHESTRATOR_URL, PROMETHEUS_URL, ALERTMANAGER_URL,
# JAEGER_URL and LOKI_URL (empty for one that was left out), DATABASE_URL, AWS_ENDPOINT_URL; by
# PANGEA_STACK, the folder with data, logs and `addresses` (name:port address pid, one a line).
#
#   PANGEA_BINARIES         a folder with the services' binaries; else they are built, for release
#   STACK_DIR               where everything is kept; else in a folder that is gone afterwards
#   STACK_SCRAPE_INTERVAL   instead of 15s
#   STACK_SECRETS           Alertmanager's, instead of infra/alertmanager/secrets
set -euo pipefail
cd "$(dirname "$0")/.."

READY_SECONDS=90 # LocalStack's first start on a busy machine; all the others take a second or two
STOP_SECONDS=20  # a worker may finish its task for ten seconds; what takes longer is killed

tools="${PANGEA_TOOLS:-$HOME/.cache/pangea/tools}"
export PATH="$tools/bin:$tools/postgresql/bin:$PATH"
mkdir -p "${STACK_DIR:-${TMPDIR:-/tmp}}"
dir="$(cd "${STACK_DIR:-$(mktemp -d "${TMPDIR:-/tmp}/pangea-stack.XXXXXX")}" && pwd)"
command=
order=()                                        # parts, as they were started
declare -A pids=() ports=() ready=() left_out=() # by part, or by NAME:PORT of the compose file

# shellcheck source=scripts/settings.sh
. scripts/settings.sh
for part in programs configs waiting; do
  # shellcheck source=/dev/null # one of scripts/stack/*.sh
  . "scripts/stack/$part.sh"
done

# Each process gets its own group, so that Ctrl-C reaches this script alone.
set -m

clean_up() {
  trap '' INT TERM HUP
  set +e # what cannot be ended does not keep the others alive
  exec 2>/dev/null # or bash tells of each process that it ended
  if [[ -n "$command" ]]; then
    pids[command]="$command"
    end command
  fi
  # Workers first, as in `make local`: a task in hand can be reported only while the others are there.
  # What watches them ends last, and so hears of it.
  end training-worker-{1..3}
  end orchestrator compute-core
  end "${order[@]}"
  [[ -n "${STACK_DIR:-}" ]] || rm -rf "$dir"
}

end() { # part…
  local part now until=$((SECONDS + STOP_SECONDS))
  for part in "$@"; do
    [[ "${pids[$part]:-}" != gone ]] || continue
    # It may have been started again since.
    now="$(sed -n "s/^$part:.* //p" "$dir/addresses" | head -n 1)"
    pids[$part]="${now:-${pids[$part]:-}}"
    [[ -n "${pids[$part]}" ]] || continue
    case "$part" in
      localstack) kill -KILL -- "-${pids[$part]}" ;; # it has nothing to put away
      postgres) kill -INT -- "-${pids[$part]}" ;;    # at SIGTERM it would wait for its sessions
      *) kill -TERM -- "-${pids[$part]}" ;;
    esac
  done
  for part in "$@"; do
    [[ "${pids[$part]:-gone}" != gone ]] || continue
    while kill -0 -- "-${pids[$part]}" && ((SECONDS < until)); do sleep 0.05; done
    kill -KILL -- "-${pids[$part]}"
    pids[$part]=gone
  done
}

trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

rm -f "$dir/addresses"
find_binaries
choose_ports "$(if (($#)); then echo free; else echo usual; fi)"
mkdir -p "$dir/containers" "$dir/otelcol" "$dir/jaeger" "$dir/loki"
write_configs
start_backends
start_monitoring
start_services
write_addresses
table

if (($#)); then
  # shellcheck source=/dev/null # written above
  set -a && . "$dir/environment" && set +a
  "$@" &
  command=$!
  wait "$command"
else
  echo "stack: Ctrl-C ends all of them"
  watch
fi
