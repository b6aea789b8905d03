# shellcheck shell=bash disable=SC2154 # `tools` and `report` are scripts/tools.sh's
#
# The programs around the services that Debian has: single binaries, unpacked into $tools/bin. The
# newest suite that can be had and whose programs run here is taken; its version is reported.

SUITES=(sid trixie bookworm)

# program in $tools/bin, package, path in the package
MONITORING=(
  "prometheus prometheus usr/bin/prometheus"
  "promtool promtool usr/bin/promtool"
  "node_exporter prometheus-node-exporter usr/bin/prometheus-node-exporter"
  "postgres_exporter prometheus-postgres-exporter usr/bin/prometheus-postgres-exporter"
  "docker-compose docker-compose usr/libexec/docker/cli-plugins/docker-compose"
)

monitoring() {
  local home="$tools/monitoring" suite entry missing
  missing="$(monitoring_missing)"
  if [[ -n "$missing" ]] && command -v apt-get >/dev/null && [[ -r "$DEBIAN_KEYS" ]]; then
    for suite in "${SUITES[@]}"; do
      rm -rf "$home"
      monitoring_from "$suite" "$home" || true # the next suite, or left out below
      [[ -n "$(monitoring_missing)" ]] || break
    done
    rm -rf "$home"
  fi
  for entry in "${MONITORING[@]}"; do
    monitoring_report "${entry%% *}" "$missing"
  done
}

monitoring_missing() {
  local entry
  for entry in "${MONITORING[@]}"; do
    "$tools/bin/${entry%% *}" --version >/dev/null 2>&1 || echo "${entry%% *}"
  done
}

monitoring_from() { # suite, home
  local entry program package path packages=()
  debian_suite "$2" "$1" || return
  for entry in "${MONITORING[@]}"; do
    read -r program package path <<<"$entry"
    packages+=("$package")
  done
  for package in $(printf '%s\n' "${packages[@]}" | sort -u); do
    # A package that the suite does not have is left to the next one.
    (mkdir -p "$2/packages" && cd "$2/packages" &&
      debian_suite_apt "$2" apt-get download "$package" 2>>"$2/apt.log") || continue
    dpkg-deb --extract "$2"/packages/*.deb "$2/root"
    rm -r "$2/packages"
  done
  for entry in "${MONITORING[@]}"; do
    read -r program package path <<<"$entry"
    # Under another name first: one that cannot run here leaves the place to the next suite's.
    if [[ -f "$2/root/$path" ]] && "$2/root/$path" --version >/dev/null 2>&1; then
      "$tools/bin/$program" --version >/dev/null 2>&1 || install "$2/root/$path" "$tools/bin/$program"
    fi
  done
}

monitoring_report() { # program, what was missing
  local version
  version="$("$tools/bin/$1" --version 2>&1 | grep -Eo '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1)"
  if [[ -z "$version" ]]; then
    report "$1" "left out: no suite of Debian could be reached that has it and runs here"
  elif grep -qx "$1" <<<"$2"; then
    report "$1 $version" "unpacked from Debian's packages"
  else
    report "$1 $version" "there"
  fi
}
