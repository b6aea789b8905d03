#!/usr/bin/env bash
# Runs the native stack and proves on it that what watches it tells the truth: one line for each
# proof, and status 1 at the first that fails: `prove-stack.sh [--short]`. scripts/prove/proofs.py lists
# them. About ten minutes; in short three, without an idle stack, memory, pages, backups and most faults.
#
#   PANGEA_BINARIES   a folder with the binaries of the services and of `pangea`; else they are built
#   PROVE_MEMORY_MIB  what our services may take together, instead of 150, for others than release builds
#   PROVE_DIR         where everything is kept; else in a folder that is gone afterwards
set -euo pipefail
cd "$(dirname "$0")/.."

case "$*" in
  "") ;;
  --short) export PROVE_SHORT=1 ;;
  *) echo "usage: prove-stack.sh [--short]" >&2; exit 2 ;;
esac

# How many times as fast rules, windows and grouping are. Services' own times stay as they are: with
# more than this, a window would be shorter than the pauses between two tries.
FACTOR=15

tools="${PANGEA_TOOLS:-$HOME/.cache/pangea/tools}"
for program in bin/prometheus bin/alertmanager bin/jaeger bin/otelcol bin/node_exporter \
  bin/postgres_exporter bin/grpcurl postgresql/bin/postgres localstack/wanted; do
  [[ ! -e "$tools/$program" ]] || continue
  if [[ "${REQUIRE_TOOLS:-}" == 1 ]]; then
    echo "prove-stack: ${program##*/} is not there; \`make tools\` sets it up" >&2
    exit 1
  fi
  echo "SKIPPED: prove-stack: ${program##*/} is not there; \`make tools\` sets it up" >&2
  exit 0
done

dir="${PROVE_DIR:-$(mktemp -d "${TMPDIR:-/tmp}/pangea-prove.XXXXXX")}"
mkdir -p "$dir/secrets" "$dir/stack"
dir="$(cd "$dir" && pwd)"
sink=
stack=
clean_up() {
  trap '' INT TERM HUP
  if [[ -n "$stack" ]]; then kill "$stack" 2>/dev/null && wait "$stack" || true; fi
  if [[ -n "$sink" ]]; then kill "$sink" 2>/dev/null && wait "$sink" 2>/dev/null || true; fi
  [[ -n "${PROVE_DIR:-}" ]] || rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

if [[ -z "${PANGEA_BINARIES:-}" ]]; then
  cargo build --release -p orchestrator -p compute-core -p training-worker -p pangea --bins
  PANGEA_BINARIES="${CARGO_TARGET_DIR:-target}/release"
fi
PANGEA_BINARIES="$(cd "$PANGEA_BINARIES" && pwd)"
export PANGEA_BINARIES

rm -f "$dir/ports" "$dir/told"
python3 scripts/prove/sink.py "$dir" &
sink=$!
until [[ -e "$dir/ports" ]]; do
  kill -0 "$sink" || exit 1
  sleep 0.1
done
read -r http smtp <"$dir/ports"
echo "http://127.0.0.1:$http/webhook" >"$dir/secrets/webhook_url"
echo "http://127.0.0.1:$http/slack" >"$dir/secrets/slack_api_url"
echo 0123456789abcdef0123456789abcdef >"$dir/secrets/pagerduty_routing_key"
echo secret >"$dir/secrets/smtp_password"

cargo xtask alerts-faster "$FACTOR" "$dir/faster"
# The same routes and messages; only where each way leads is ours.
sed -i -e "s#smtp.example.com:587#127.0.0.1:$smtp#" -e 's#smtp_require_tls: true#smtp_require_tls: false#' \
  -e "s#^global:#&\n  pagerduty_url: http://127.0.0.1:$http/pagerduty#" \
  -e "s#/etc/alertmanager/secrets/#$dir/secrets/#" \
  -e "s#^  - templates/#  - $PWD/infra/alertmanager/templates/#" "$dir/faster/alertmanager.yml"

export PROVE_DIR="$dir" PROVE_FACTOR="$FACTOR"
STACK_DIR="$dir/stack" STACK_SCRAPE_INTERVAL=1s STACK_SECRETS="$dir/secrets" \
  scripts/stack.sh python3 scripts/prove/proofs.py &
stack=$!
wait "$stack"
