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
  for file in infra/docker-compose.yml infra/docker-compose.monitoring.yml; do
    quietly compose --file "$file" config --quiet
    [[ ! -s "$scratch/said" ]] || { cat "$scratch/said" >&2; exit 1; }
  done
  compose --profile '*' config --format json >"$scratch/compose.json"
  compose --profile '*' config --no-interpolate --format json >"$scratch/raw.json"
  compose --file infra/docker-compose.monitoring.yml config --format json >"$scratch/monitoring.json"
  python3 scripts/stack/check.py "$scratch"/{compose,raw,monitoring}.json
  quietly python3 scripts/stack/doctor_test.py
fi
if has promtool "prometheus.yml and its rules"; then
  quietly promtool check config --lint=all --lint-fatal prometheus.yml
  cp infra/prometheus/web-config.example.yml "$scratch"
  if command -v openssl >/dev/null; then
    mkdir "$scratch/tls"
    quietly openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 \
      -subj /CN=prometheus -keyout "$scratch/tls/server.key" -out "$scratch/tls/server.crt"
  else # then only the passwords
    sed -i '/^tls_server_config:/,/^$/d' "$scratch/web-config.example.yml"
  fi
  quietly promtool check web-config "$scratch/web-config.example.yml"
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
  # `make tools` brings neither what scrapes nor Datadog's exporter. So what vendors.yaml scrapes is
  # promtool's to read, and the rest of New Relic's collector is read without it.
  for file in vendors newrelic; do
    sed -e '/^  prometheus:$/,/^$/d' -e 's/\[prometheus\]/[otlp]/' "infra/otel-collector/$file.yaml" >"$scratch/$file.yaml"
  done
  NEW_RELIC_LICENSE_KEY=key quietly otelcol validate --config="$scratch/vendors.yaml" --config="$scratch/newrelic.yaml"
fi
if has promtool "what the vendors' collectors scrape"; then
  sed -n '/^  prometheus:$/,/^$/s/^      //p' infra/otel-collector/vendors.yaml >"$scratch/vendors-scrape.yml"
  quietly grep '^scrape_configs:$' "$scratch/vendors-scrape.yml"
  quietly promtool check config --lint=all --lint-fatal "$scratch/vendors-scrape.yml"
fi
if has loki "Loki's configuration"; then
  quietly loki -config.file=infra/loki/config.yaml -config.expand-env=true -verify-config
fi
if has jaeger "Jaeger's configuration"; then
  quietly jaeger validate --config infra/jaeger/config.yaml
fi

# What nobody may know stays outside of git.
if git rev-parse --git-dir >"$scratch/said" 2>&1; then
  for secret in .env tools/.env infra/alertmanager/secrets/webhook_url backups/any; do
    git check-ignore --quiet "$secret" || { echo "check-stack: git does not ignore $secret" >&2; exit 1; }
  done
  # Keys of Amazon, Slack, PagerDuty's and Sentry's addresses with a key in them, private keys.
  if git grep -nIE -e 'AKIA[0-9A-Z]{16}|xox[abpr]-[0-9]|hooks\.slack\.com/services/T[0-9A-Z]' \
    -e '-----BEGIN [A-Z ]*PRIVATE KEY-----|https://[0-9a-f]{32}@[a-z0-9.]*sentry\.io' >&2; then
    echo "check-stack: these lines look like secrets; they must not be in git" >&2
    exit 1
  fi
fi
echo "check-stack: passed"
