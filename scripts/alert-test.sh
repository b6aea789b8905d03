#!/usr/bin/env bash
# Holds rules, their tests and Alertmanager's routes against promtool and amtool. With
# ALERTMANAGER_URL set, also sends an alert through that Alertmanager, so that somebody sees whether
# it arrives: AlertTest, worth knowing and nothing more.
set -euo pipefail
cd "$(dirname "$0")/.."

tools="${PANGEA_TOOLS:-$HOME/.cache/pangea/tools}"
export PATH="$tools/bin:$PATH"
config=infra/alertmanager/alertmanager.yml

has() { # program
  command -v "$1" >/dev/null && return
  if [[ "${REQUIRE_TOOLS:-}" == 1 ]]; then
    echo "alert-test: $1 is not there; \`make tools\` sets it up" >&2
    exit 1
  fi
  echo "SKIPPED: alert-test: $1 is not there; \`make tools\` sets it up" >&2
  return 1
}

# Prints what a program says only when it fails.
quietly() { # what it is, command…
  local what="$1" said
  shift
  if said="$("$@" 2>&1)"; then
    echo "alert-test: $what"
  else
    printf '%s\n' "$said" >&2
    echo "alert-test: failed: $what" >&2
    return 1
  fi
}

# Each line: labels -> receivers.
routes() {
  local line labels receivers
  while read -r line; do
    [[ -z "$line" || "$line" == \#* ]] && continue
    labels="${line% -> *}" receivers="${line#* -> }"
    # shellcheck disable=SC2086 # one word per label
    amtool config routes test --config.file="$config" --verify.receivers="$receivers" $labels ||
      { echo "expected: $line" >&2; return 1; }
  done <infra/alertmanager/routes-test.txt
}

messages() {
  local part
  for part in title text colour; do
    amtool template render --template.glob='infra/alertmanager/templates/*.tmpl' \
      --template.text="{{ template \"pangea.$part\" . }}" | grep -q '[^[:space:]]' ||
      { echo "the template pangea.$part renders to nothing" >&2; return 1; }
  done
}

if has promtool; then
  quietly "rules are valid" promtool check rules --lint=all --lint-fatal infra/prometheus/rules/*.yml
  for tests in infra/prometheus/tests/*.yml; do
    quietly "$tests" promtool test rules "$tests"
  done
fi
if has amtool; then
  quietly "$config is valid" amtool check-config "$config"
  quietly "routes lead where infra/alertmanager/routes-test.txt says" routes
  quietly "messages render" messages
  if [[ -n "${ALERTMANAGER_URL:-}" ]]; then
    quietly "AlertTest was sent to $ALERTMANAGER_URL" \
      amtool alert add --alertmanager.url="$ALERTMANAGER_URL" \
      --end="$(date --utc --date='+5 minutes' +%Y-%m-%dT%H:%M:%SZ)" \
      --annotation=summary='A test of the ways that alerts take' \
      --annotation=description='It ends by itself in five minutes.' \
      alertname=AlertTest severity=info team=platform component=monitoring
  fi
fi
