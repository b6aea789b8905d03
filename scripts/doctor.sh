#!/usr/bin/env bash
# Looks whether the stack of docker-compose.yml can start here, and says what to do where it cannot:
# `doctor.sh [--quiet]`; quiet leaves out what is well. The status is 1 when something would fail.
set -euo pipefail
cd "$(dirname "$0")/.."

DISK_GIB=10 # images, and what the usual retentions keep
MAP_COUNT=262144 # Elasticsearch refuses to start with less

quiet=
case "$*" in
  "") ;;
  --quiet) quiet=1 ;;
  *) echo "usage: doctor.sh [--quiet]" >&2; exit 2 ;;
esac
failed=0

# shellcheck source=scripts/settings.sh
. scripts/settings.sh

well() { [[ -n "$quiet" ]] || echo "ok    $*"; }
beware() { echo "note  $*"; }
fail() {
  echo "FAIL  $*"
  failed=1
}

look_at_settings() {
  local file line key
  if [[ -f .env || -f tools/.env ]]; then
    well ".env is there"
  else
    beware ".env is not there, so defaults hold; \`cp .env.example .env\` to change them"
  fi
  for file in tools/.env .env; do
    [[ -f "$file" ]] || continue
    while read -r line; do
      key="${line%%=*}"
      if [[ "$line" != *=* || ! "$key" =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]]; then
        fail "$file has a line that is no NAME=value: $key"
      elif ! grep -q "^$key=" .env.example; then
        beware "$file sets $key, which nothing here reads; .env.example has all that is read"
      fi
    done < <(sed -e 's/^[[:space:]]*//' -e '/^#/d' -e '/^$/d' -e 's/^export //' "$file")
  done
  if [[ "$(setting APP_ENV)" == production ]]; then
    for key in GRAFANA_ADMIN_PASSWORD:admin POSTGRES_PASSWORD:pangea POSTGRES_EXPORTER_PASSWORD:exporter; do
      if [[ "$(setting "${key%:*}" "${key#*:}")" == "${key#*:}" ]]; then
        fail "APP_ENV is production, and ${key%:*} is the one that everybody knows; set it in .env"
      fi
    done
    if [[ "$(setting AWS_ACCESS_KEY_ID test)" == test ]]; then
      fail "APP_ENV is production, and artifacts would be kept in LocalStack's memory; set AWS_ENDPOINT_URL and the credentials of a real S3 and SQS in .env"
    fi
  fi
  look_at_vendor datadog DD_API_KEY
  look_at_vendor newrelic NEW_RELIC_LICENSE_KEY
}

look_at_vendor() { # profile, its key
  local profiles
  profiles=",$(setting COMPOSE_PROFILES),"
  if [[ "$profiles" == *",$1,"* && -z "$(setting "$2")" ]]; then
    fail "profile $1 is on and $2 is empty; set it in .env"
  elif [[ "$profiles" != *",$1,"* && -n "$(setting "$2")" ]]; then
    beware "$2 is set, so traces and logs are sent to profile $1, which is not on; add it to COMPOSE_PROFILES"
  fi
}

look_at_docker() {
  local said
  if ! said="$(scripts/compose.sh version --short 2>&1)"; then
    fail "$said"
    return 1
  fi
  well "compose $said"
  if ! said="$(scripts/compose.sh config --quiet 2>&1)"; then
    fail "docker-compose.yml with .env is not valid: $said"
    return 1
  fi
  well "docker-compose.yml is valid"
  if ! command -v docker >/dev/null; then
    fail "docker is not there; install Docker Engine 24 or newer"
  elif ! said="$(docker info --format '{{.ServerVersion}}' 2>&1)"; then
    fail "Docker does not answer; start it, or join its group: ${said##*$'\n'}"
  else
    well "Docker $said answers"
  fi
}

# Ports that the stack's own containers hold are no trouble.
look_at_ports() {
  local port address owner taken=0 ours
  ours="$(scripts/compose.sh ps --format '{{.Publishers}}' 2>/dev/null || true)"
  while read -r address port; do
    if (: <"/dev/tcp/$address/$port") 2>/dev/null && [[ "$ours" != *" $port "* ]]; then
      owner="$(ss --listening --tcp --numeric --processes "sport = :$port" 2>/dev/null |
        sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/, by \1 (pid \2)/p' | head -n 1)"
      fail "port $port is taken$owner; end that, or set another $(port_variable "$port") in .env"
      taken=1
    fi
  done < <(scripts/compose.sh config | awk '
    /^ *host_ip:/ { address = $2 }
    /^ *published:/ { gsub("\"", "", $2); print (address == "0.0.0.0" ? "127.0.0.1" : address), $2 }')
  ((taken)) || well "the ports are free"
}

port_variable() { # port
  local line
  line="$(cat tools/.env .env .env.example 2>/dev/null | grep -E "^[A-Z0-9_]+_PORT=$1\$" | head -n 1)"
  line="${line%%=*}"
  echo "${line:-port}"
}

look_at_memory() {
  local wanted there disk root
  wanted="$(scripts/compose.sh config | awk '
    /^ *mem_limit:/ { gsub("\"", "", $2); total += $2 } END { printf "%d", total / 1048576 }')"
  there="$(awk '/^MemTotal:/ { printf "%d", $2 / 1024 }' /proc/meminfo)"
  if ((there < wanted)); then
    fail "the parts may take $wanted MiB together, and this machine has $there MiB; lower the …_MEMORY in .env, or leave profiles out"
  else
    well "memory: $there MiB, and the parts may take $wanted MiB"
  fi
  root="$(setting DOCKER_ROOT /var/lib/docker)"
  while [[ ! -d "$root" ]]; do root="$(dirname "$root")"; done
  disk="$(df --output=avail --block-size=G "$root" | tail -n 1 | tr -dc 0-9)"
  if ((disk < DISK_GIB)); then
    beware "$root has $disk GiB left; images and data take about $DISK_GIB GiB"
  else
    well "disk: $disk GiB left at $root"
  fi
  if [[ ",$(setting COMPOSE_PROFILES)," == *,elk,* ]] &&
    (($(cat /proc/sys/vm/max_map_count) < MAP_COUNT)); then
    fail "Elasticsearch wants vm.max_map_count of $MAP_COUNT: sudo sysctl -w vm.max_map_count=$MAP_COUNT"
  fi
}

look_at_files() {
  local secret
  for secret in slack_api_url pagerduty_routing_key smtp_password webhook_url; do
    [[ -s "infra/alertmanager/secrets/$secret" ]] ||
      beware "infra/alertmanager/secrets/$secret is not there: alerts do not go that way"
  done
}

look_at_settings
if look_at_docker; then
  look_at_ports
  look_at_memory
fi
look_at_files
if ((failed)); then
  echo "doctor: the stack would not start as it is" >&2
  exit 1
fi
[[ -n "$quiet" ]] || echo "doctor: the stack can start"
