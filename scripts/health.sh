#!/usr/bin/env bash
# Asks every part of a running stack how it is: `health.sh`. With PANGEA_STACK, the folder of a native
# stack; else the one of docker-compose.yml, at the ports of .env. The status is 1 when one is not well.
set -euo pipefail
cd "$(dirname "$0")/.."
(($# == 0)) || { echo "usage: health.sh" >&2; exit 2; }

# shellcheck source=scripts/stack/programs.sh # the list of parts and ports
. scripts/stack/programs.sh
# shellcheck source=scripts/settings.sh
. scripts/settings.sh
if [[ -n "${PANGEA_STACK:-}" && ! -r "$PANGEA_STACK/addresses" ]]; then
  echo "health: PANGEA_STACK is $PANGEA_STACK, and no stack runs there" >&2
  exit 2
fi
unwell=0

address() { # name:port
  local variable usual
  if [[ -n "${PANGEA_STACK:-}" ]]; then
    sed -n "s/^$1 \\([^ ]*\\) .*/\\1/p" "$PANGEA_STACK/addresses"
  else
    read -r _ variable usual < <(grep "^$1 " <<<"$PORTS")
    echo "127.0.0.1:$(setting "$variable" "$usual")"
  fi
}

ask() { # part, name:port, path
  local where code
  where="$(address "$2")"
  if [[ -z "$where" ]]; then
    printf '%-20s left out\n' "$1"
    return
  fi
  code="$(curl --silent --output /dev/null --max-time 5 --write-out '%{http_code}' "http://$where$3" || true)"
  if [[ "$code" == 200 ]]; then
    printf '%-20s well        %s\n' "$1" "http://$where$3"
  else
    printf '%-20s NOT WELL    %s says %s\n' "$1" "http://$where$3" \
      "$([[ "$code" == 000 ]] && echo nothing || echo "$code")"
    unwell=1
  fi
}

ask orchestrator orchestrator:8080 /health
ask compute-core compute-core:9091 /health
for n in 1 2 3; do ask "training-worker-$n" "training-worker-$n:8081" /health; done
ask localstack localstack:4566 /_localstack/health
ask prometheus prometheus:9090 /-/healthy
ask alertmanager alertmanager:9093 /-/healthy
ask jaeger jaeger:16686 /api/services
ask loki loki:3100 /ready
ask otel-collector otel-collector:8888 /metrics
ask node-exporter node-exporter:9100 /
ask postgres-exporter postgres-exporter:9187 /
if [[ -z "${PANGEA_STACK:-}" ]]; then
  ask grafana grafana:3000 /api/health
  ask cadvisor cadvisor:8080 /healthz
fi

# What Prometheus cannot reach is not watched, however well it is.
down="$(curl --silent --max-time 5 --get "http://$(address prometheus:9090)/api/v1/query" \
  --data-urlencode 'query=up == 0' | grep -o '"instance":"[^"]*"' | cut -d'"' -f4 | sort -u | paste -sd' ')" || true
if [[ -n "$down" ]]; then
  echo "not seen by Prometheus: $down"
  unwell=1
fi
if ((unwell)); then
  echo "health: something is not well; docs/runbooks has what to do, \`make logs\` what they say" >&2
  exit 1
fi
echo "health: all parts are well"
