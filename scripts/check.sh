#!/usr/bin/env bash
# Everything that can be said about the code without running it. Stops at the first failure.
set -euo pipefail
cd "$(dirname "$0")/.."

tools="${PANGEA_TOOLS:-$HOME/.cache/pangea/tools}"
export PATH="$tools/bin:$PATH"

step() {
  echo "check: $*"
  "$@"
}

step cargo fmt --all --check
step cargo xtask sizes
step cargo xtask arrows
step cargo xtask proto --check
step cargo xtask slo --check
step cargo xtask alerts
step cargo xtask dashboards --check
step cargo clippy --quiet --workspace --all-targets -- -D warnings

if command -v cargo-deny >/dev/null; then
  step cargo deny --log-level error check bans licenses sources
elif [[ "${REQUIRE_TOOLS:-}" == 1 ]]; then
  echo "check: cargo-deny is not there; \`make tools\` sets it up" >&2
  exit 1
else
  echo "SKIPPED: cargo deny: cargo-deny is not there; \`make tools\` sets it up" >&2
fi
step scripts/check-stack.sh
step scripts/alert-test.sh
if command -v shellcheck >/dev/null; then
  step shellcheck --external-sources --severity=warning scripts/*.sh scripts/*/*.sh infra/*/*.sh infra/docker/probe
fi
echo "check: passed"
