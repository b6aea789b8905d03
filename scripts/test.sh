#!/usr/bin/env bash
# Runs every test, the whole stack in short and each measurement once, and closes with a summary.
# Arguments go to `cargo test`; with any, and in the long form, which proves all of it elsewhere, stack
# and measurements are left out.
#
# A test that needs a tool which is not there (Python with its packages, grpcurl, LocalStack,
# PostgreSQL) appends one line, `SKIPPED: name: reason`, to the file named by PANGEA_SKIPPED_FILE;
# the summary lists them. With REQUIRE_TOOLS=1 such a test fails instead.
#
# Tests find LocalStack and PostgreSQL by what scripts/with-backends.sh sets; this script starts
# itself again under it, so that a signal ends both.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ -n "${PANGEA_BACKENDS:-}" ]] || exec scripts/with-backends.sh scripts/test.sh "$@"

tools="${PANGEA_TOOLS:-$HOME/.cache/pangea/tools}"
export PATH="$tools/bin:$tools/python/bin:$PATH"

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
export PANGEA_SKIPPED_FILE="$scratch/skipped"
: > "$PANGEA_SKIPPED_FILE"
started=$SECONDS

# Tests of processes start the binaries, so these are built first.
cargo build --workspace --bins
status=0
cargo test --workspace --no-fail-fast "$@" 2>&1 | tee "$scratch/log" || status=$?
if (($# == 0)) && [[ -z "${PANGEA_PROOF:-}" ]]; then
  export PANGEA_BINARIES="${CARGO_TARGET_DIR:-target}/debug"
  scripts/prove-stack.sh --short || status=$?
  # Whether all that is measured can be; what it yields is for a quiet machine.
  python3 bench/run.py --short > "$scratch/bench" || status=$?
fi

echo
awk -v seconds="$((SECONDS - started))" '
  /^test result:/ { passed += $4; failed += $6; ignored += $8; suites += 1 }
  END {
    printf "tests: %d passed, %d failed, %d ignored in %d suites, %d s\n",
      passed, failed, ignored, suites, seconds
  }' "$scratch/log"
if [[ -s "$PANGEA_SKIPPED_FILE" ]]; then
  echo "tests: $(sort -u "$PANGEA_SKIPPED_FILE" | wc -l) skipped; \`make tools\` sets up what they miss"
  sort -u "$PANGEA_SKIPPED_FILE"
fi
if [[ $status -ne 0 ]]; then
  sed -n '/^failures:$/,/^test result:/{/^    [^ ]/p;}' "$scratch/log" | sort -u
  echo "tests: failed" >&2
fi
exit "$status"
