#!/usr/bin/env bash
# shellcheck disable=SC2034 # of the variables, some are for scripts/e2e/*.sh
# Tries docker-compose.yml with a real Docker engine: builds our images, starts the services, has a
# job train through the published port, asks every service for /health and /metrics, starts the
# orchestrator's container again, and finds in PostgreSQL what was there before. Ends everything that
# it started, under a project name and at ports of its own.
#
# Uses the engine that answers, or else starts one, which takes root. An image that cannot be pulled is
# made of Debian's packages and the programs of `make tools`; a service for which neither works is left
# out, by name. What makes the trial impossible is one line, `SKIPPED: e2e-compose: why`, and with
# REQUIRE_TOOLS=1 a failure.
#
#   PANGEA_BINARIES   a folder with the services' binaries and the command line's; else our image is
#                     built from source, or where that cannot be, they are built outside, for release
set -euo pipefail
cd "$(dirname "$0")/.."
(($# == 0)) || { echo "usage: e2e-compose.sh" >&2; exit 2; }

UP_SECONDS=300   # with images that are there; PostgreSQL makes its cluster in this
SEEN_SECONDS=90  # until Prometheus has scraped each target, and lines and spans have arrived

tools="${PANGEA_TOOLS:-$HOME/.cache/pangea/tools}"
project="pangea-e2e-$$"
cgroup="$project"
dir="$(mktemp -d "${TMPDIR:-/tmp}/$project.XXXXXX")"
composed= # once there may be containers
declare -A ports=()

# shellcheck source=scripts/settings.sh
. scripts/settings.sh
# shellcheck source=scripts/stack/programs.sh # the list of ports
. scripts/stack/programs.sh
for part in engine images checks; do
  # shellcheck source=/dev/null # one of scripts/e2e/*.sh
  . "scripts/e2e/$part.sh"
done

say() { printf 'e2e: %4d s  %s\n' "$SECONDS" "$*"; }

fail() {
  echo "e2e: $*" >&2
  exit 1
}

skip() { # reason
  echo "SKIPPED: e2e-compose: $*"
  [[ "${REQUIRE_TOOLS:-}" != 1 ]] || exit 1
  exit 0
}

compose() { scripts/compose.sh "$@"; }

# The images that were made go with the engine, or by name where it is another's.
clean_up() {
  trap '' INT TERM HUP
  set +e
  if [[ -n "$composed" ]]; then
    compose down --volumes --remove-orphans --timeout 10 >"$dir/down.log" 2>&1 || cat "$dir/down.log" >&2
  fi
  if [[ -z "$engine" ]]; then
    docker images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null | grep "^$project/" |
      xargs --no-run-if-empty docker rmi --force >/dev/null 2>&1
    # Each of the services that share an image builds it, and the last one has its name.
    docker image prune --force --filter "label=com.docker.compose.project=$project" >/dev/null 2>&1
  fi
  stop_engine
  rm -rf --one-file-system "$dir"
}

trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Its own project, ports and images; the rest is as .env has it.
settings() {
  local name variable usual
  while read -r name variable usual; do
    [[ -n "$name" && "$variable" != - ]] || continue
    ports[$name]="$(free_port)"
    export "$variable=${ports[$name]}"
  done <<<"$PORTS"
  export COMPOSE_PROJECT_NAME="$project" COMPOSE_FILE=docker-compose.yml COMPOSE_PROFILES=
  export PANGEA_IMAGE="$project/pangea:made" COLLECTOR_IMAGE_BUILT="$project/otel-collector:made"
  REVISION="$(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
  DOCKER_ROOT="$(docker info --format '{{.DockerRootDir}}')"
  export REVISION DOCKER_ROOT DOCKER_CONTAINERS="$DOCKER_ROOT/containers"
}

start() {
  compose config --format json >"$dir/compose.json"
  python3 scripts/e2e/override.py "$dir/compose.json" "$dir/services" "$dir/images" "$project" \
    >"$dir/override.yml"
  export COMPOSE_FILE="docker-compose.yml:$dir/override.yml"
  composed=1
  if ! compose build --quiet >"$dir/build.log" 2>&1; then
    cat "$dir/build.log" >&2
    fail "the images cannot be built"
  fi
  say "images are built"
  if ! compose up --detach --no-build --pull never --wait --wait-timeout "$UP_SECONDS" >"$dir/up.log" 2>&1; then
    tail -n 20 "$dir/up.log" >&2
    compose ps --all --format '{{.Service}} {{.State}} {{.Health}}' |
      while read -r service state health; do
        [[ "$state $health" == "running healthy" ]] && continue
        echo "e2e: $service is $state${health:+, $health}; its last lines:" >&2
        compose logs --no-log-prefix --tail 10 "$service" >&2
      done
    fail "not every part is well after docker compose up"
  fi
  say "well: $(compose ps --format '{{.Service}}' | sort | paste -sd' ')"
}

scripts/compose.sh version --short >"$dir/version" 2>&1 || skip "$(<"$dir/version")"
command -v python3 >/dev/null || skip "python3 is not there"
find_engine
settings
choose_images
start
ask_services
train first
ask_watchers
restart_orchestrator
train second
stop_services
say "all that was asked is so"
