#!/usr/bin/env bash
# `docker compose` for this repository, with what tools/.env and .env say: `compose.sh ARGUMENT…`.
set -euo pipefail
cd "$(dirname "$0")/.."

tools="${PANGEA_TOOLS:-$HOME/.cache/pangea/tools}"
if docker compose version >/dev/null 2>&1; then
  compose=(docker compose)
elif PATH="$PATH:$tools/bin" command -v docker-compose >/dev/null &&
  PATH="$PATH:$tools/bin" docker-compose version --short 2>/dev/null | grep -qE '^v?([2-9]|[1-9][0-9])\.'; then
  compose=("$(PATH="$PATH:$tools/bin" command -v docker-compose)")
else
  echo "compose: neither \`docker compose\` nor docker-compose 2 is there; install Docker with its" \
    "compose plugin, or run \`make tools\`" >&2
  exit 1
fi
for file in tools/.env .env; do
  if [[ -f "$file" ]]; then compose+=(--env-file "$file"); fi
done
exec "${compose[@]}" "$@"
