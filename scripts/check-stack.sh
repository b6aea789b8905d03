#!/usr/bin/env bash
# Holds the stack's files against each other, and has each program read its own: `check-stack.sh`.
# What needs a program that is not there is skipped, and says so; with REQUIRE_TOOLS=1 it fails.
set -euo pipefail
cd "$(dirname "$0")/.."

tools="${PANGEA_TOOLS:-$HOME/.cache/pangea/tools}"
export PATH="$tools/bin:$PATH"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

has() { # program, what is not checked without it
  if ! command -v "$1" >/dev/null; then
    if [[ "${REQUIRE_TOOLS:-}" == 1 ]]; then
      echo "check-stack: $1 is not there; \`make tools\` sets it up" >&2
      exit 1
    fi
    echo "SKIPPED: $2: $1 is not there; \`make tools\` sets it up" >&2
    return 1
  fi
}

quietly() { # command…
  "$@" >"$scratch/said" 2>&1 || { cat "$scratch/said" >&2; echo "check-stack: failed: $*" >&2; exit 1; }
}

# The reader's own .env is not what is checked.
compose() {
  env -i PATH="$PATH" HOME="$scratch" docker-compose --env-file /dev/null "$@"
}

if has docker-compose "docker-compose.yml"; then
  for profile in "" demo elk datadog newrelic '*'; do
    quietly compose --profile "$profile" config --quiet
    [[ ! -s "$scratch/said" ]] || { cat "$scratch/said" >&2; exit 1; } # it warns of unset variables
  done
  compose --profile '*' config --format json >"$scratch/compose.json"
  compose --profile '*' config --no-interpolate --format json >"$scratch/raw.json"
  python3 scripts/stack/check.py "$scratch/compose.json" "$scratch/raw.json"
  quietly python3 scripts/stack/doctor_test.py
fi
if has promtool "prometheus.yml and its rules"; then
  quietly promtool check config --lint=all --lint-fatal prometheus.yml
fi
if has amtool "Alertmanager's configuration"; then
  quietly amtool check-config infra/alertmanager/alertmanager.yml
fi
if has otelcol "the collector's configuration"; then
  quietly otelcol validate --config=infra/otel-collector/config.yaml
  for vendor in datadog newrelic; do
    quietly otelcol validate --config=infra/otel-collector/config.yaml \
      --config="infra/otel-collector/forward-$vendor.yaml"
  done
fi
if has loki "Loki's configuration"; then
  quietly loki -config.file=infra/loki/config.yaml -config.expand-env=true -verify-config
fi
if has jaeger "Jaeger's configuration"; then
  quietly jaeger validate --config infra/jaeger/config.yaml
fi
echo "check-stack: passed"
