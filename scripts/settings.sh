# shellcheck shell=bash
#
# What a variable of the stack is, for scripts: as compose takes it, the environment wins over .env,
# and .env over tools/.env. The files are read and not run.
setting() { # variable, otherwise
  local file line value="${!1:-}"
  if [[ -z "$value" ]]; then
    for file in tools/.env .env; do
      [[ -f "$file" ]] || continue
      line="$(grep -E "^(export )?$1=" "$file" | tail -n 1 || true)"
      [[ -z "$line" ]] || value="${line#*=}"
    done
    value="${value#[\"\']}"
    value="${value%[\"\']}"
  fi
  echo "${value:-${2:-}}"
}
