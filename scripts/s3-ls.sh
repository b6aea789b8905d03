#!/usr/bin/env bash
# Says which buckets a running stack has, and what is in ours: `s3-ls.sh`. With PANGEA_STACK, of a
# native stack. `aws --endpoint-url "$LOCALSTACK_ENDPOINT_URL" s3 ls` is the same, where aws is there.
set -euo pipefail
cd "$(dirname "$0")/.."
(($# == 0)) || { echo "usage: s3-ls.sh" >&2; exit 2; }

# shellcheck source=scripts/settings.sh
. scripts/settings.sh
# shellcheck source=scripts/backup/reach.sh
. scripts/backup/reach.sh

if ! objects ls; then
  echo "s3-ls: the buckets cannot be read; does the stack run? \`make health\` says" >&2
  exit 1
fi
