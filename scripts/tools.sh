#!/usr/bin/env bash
# Sets up the tools that checks and tests use, at pinned versions, in a cache folder outside the
# checkout: $PANGEA_TOOLS, or ~/.cache/pangea/tools. A tool that is already there is left alone.
# Without Python or Go, what needs them is left out, and the tests that use it say so. PostgreSQL is
# the system's own, or comes from Debian's packages.
set -euo pipefail
cd "$(dirname "$0")/.."

CARGO_DENY=0.20.2
GRPCURL=1.9.3
SAFETENSORS=0.8.0
NUMPY=2.4.6
PROMETHEUS_CLIENT=0.26.0
POSTGRESQL_MIN=14 # the oldest that its makers still mend

tools="${PANGEA_TOOLS:-$HOME/.cache/pangea/tools}"
mkdir -p "$tools/bin"

report() { # tool, what happened
  printf '%-22s %s\n' "$1" "$2"
}

cargo_deny() {
  if [[ "$("$tools/bin/cargo-deny" --version 2>/dev/null)" == "cargo-deny $CARGO_DENY" ]]; then
    report "cargo-deny $CARGO_DENY" "there"
    return
  fi
  report "cargo-deny $CARGO_DENY" "building; this takes minutes"
  # Its own target folder: the checkout's is not the place for other people's code.
  CARGO_TARGET_DIR="$tools/build" cargo install --quiet --locked --root "$tools" \
    "cargo-deny@$CARGO_DENY"
  rm -rf "$tools/build"
  report "cargo-deny $CARGO_DENY" "built"
}

grpcurl() {
  # A binary from `go install` does not know its own version, so a file beside it does.
  local version="$tools/bin/grpcurl.version" log="$tools/grpcurl.log"
  if [[ -x "$tools/bin/grpcurl" && "$(cat "$version" 2>/dev/null)" == "$GRPCURL" ]]; then
    report "grpcurl $GRPCURL" "there"
  elif ! command -v go >/dev/null; then
    report "grpcurl $GRPCURL" "left out: go is not there"
  else
    GOBIN="$tools/bin" go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@v$GRPCURL" \
      >"$log" 2>&1 || { cat "$log" >&2; return 1; }
    echo "$GRPCURL" > "$version"
    report "grpcurl $GRPCURL" "built"
  fi
}

python() {
  local name="python packages"
  local wanted="numpy $NUMPY prometheus-client $PROMETHEUS_CLIENT safetensors $SAFETENSORS"
  local venv="$tools/python"
  if [[ "$(cat "$venv/wanted" 2>/dev/null)" == "$wanted" ]]; then
    report "$name" "there: $wanted"
  elif ! command -v python3 >/dev/null; then
    report "$name" "left out: python3 is not there"
  else
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check \
      "numpy==$NUMPY" "prometheus-client==$PROMETHEUS_CLIENT" "safetensors==$SAFETENSORS"
    echo "$wanted" > "$venv/wanted"
    report "$name" "set up: $wanted"
  fi
}

# What it consists of is pinned in the file of requirements; a copy in the folder says what is there.
localstack() {
  local pins=scripts/backends/localstack-requirements.txt home="$tools/localstack" name
  name="localstack $(sed -n 's/^localstack-core.*==//p' "$pins")"
  if cmp -s "$pins" "$home/wanted"; then
    report "$name" "there"
  elif ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    report "$name" "left out: python3, 3.11 or newer, is not there"
  else
    rm -rf "$home"
    python3 -m venv "$home"
    "$home/bin/pip" install --quiet --disable-pip-version-check --requirement "$pins"
    localstack_index "$home"
    cp "$pins" "$home/wanted"
    report "$name" "set up"
  fi
}

# Builds what LocalStack would otherwise build at its first request, each time that it starts.
localstack_index() { # home
  local root="$1/index.new"
  mkdir -p "$root/usr/lib/localstack"
  OVERRIDE_IN_DOCKER=0 FILESYSTEM_ROOT="$root" "$1/bin/python" -I -m localstack.aws.spec
  mv "$root/usr/lib/localstack" "$1/index"
  rm -r "$root"
}

# Leaves the programs in $tools/postgresql/bin, wherever they are from.
postgresql() {
  local home="$tools/postgresql" system
  if postgresql_serves "$home/bin"; then
    report "$(postgresql_version "$home/bin")" "there"
    return
  fi
  rm -rf "$home"
  mkdir -p "$home"
  system="$(printf '%s\n' /usr/lib/postgresql/*/bin | sort --version-sort | tail -n 1)"
  if postgresql_serves "$system"; then
    ln -s "$system" "$home/bin"
    report "$(postgresql_version "$home/bin")" "found in $system"
  elif ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    report "postgresql" "left out: neither a server from $POSTGRESQL_MIN nor apt-get is there"
  else
    postgresql_unpack "$home"
    report "$(postgresql_version "$home/bin")" "unpacked from Debian's packages"
  fi
}

postgresql_version() { # folder of programs
  "$1/postgres" --version 2>/dev/null | sed -E 's/.*\) ([0-9.]+).*/postgresql \1/'
}

postgresql_serves() { # folder of programs
  [[ "$(postgresql_version "$1")" =~ ^postgresql\ ([0-9]+) ]] && ((BASH_REMATCH[1] >= POSTGRESQL_MIN))
}

# A server and what it needs.
postgresql_unpack() { # home
  local home="$1" server
  debian_lists "$home"
  server="$(debian_apt "$home" apt-cache depends --important postgresql |
    sed -n 's/^ *Depends: \(postgresql-[0-9]*\)$/\1/p')"
  debian_unpack "$home" "$server" "${server/-/-client-}" libpq5
  postgresql_wrap "$home"
}

# Debian's packages are unpacked into a folder; nothing is installed. The lists of packages are
# fetched into the folder too, because a container's are often empty, and only root may fill them.
debian_apt() { # home, program, argument…
  local home="$1" program="$2"
  shift 2
  "$program" -qq -o APT::Sandbox::User=root \
    -o "Dir::State::Lists=$home/lists" -o "Dir::Cache=$home/cache" "$@"
}

debian_lists() { # home
  mkdir -p "$1/lists/partial" "$1/cache/archives/partial"
  debian_apt "$1" apt-get update
}

# Unpacks packages with the libraries that are not installed. Those of Perl and LLVM serve what is
# not used here: wrappers, and compiled statements.
debian_unpack() { # home, package…
  local home="$1" missing package
  shift
  missing="$(debian_apt "$home" apt-cache depends --recurse --important "$@" |
    grep -E '^(lib|zlib)' | grep -Ev -- '-perl$|^libperl|^libllvm|^libc6$' | sort -u | while read -r name; do
      dpkg-query --show --showformat='${db:Status-Status}\n' "$name" 2>/dev/null |
        grep -qx installed || echo "$name"
    done)"
  mkdir -p "$home/packages"
  # shellcheck disable=SC2086 # one word per package
  (cd "$home/packages" && debian_apt "$home" apt-get download "$@" $missing)
  for package in "$home"/packages/*.deb; do
    dpkg-deb --extract "$package" "$home/root"
  done
  rm -rf "$home/packages" "$home/lists" "$home/cache"
}

debian_libraries() { # home
  find "$1/root" -name '*.so.*' -path '*-linux-gnu/*' -printf '%h\n' | sort -u | paste -sd:
}

# Its programs find each other by themselves, but not the unpacked libraries.
postgresql_wrap() { # home
  local home="$1" program libraries
  libraries="$(debian_libraries "$home")"
  mkdir "$home/bin"
  for program in "$home"/root/usr/lib/postgresql/*/bin/*; do
    printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s" "$@"\n' "$libraries" "$program" \
      >"$home/bin/${program##*/}"
  done
  chmod +x "$home"/bin/*
  "$home/bin/postgres" --version >/dev/null # or it says which library is missing
}

# Whoever asks what would be left after a loss of power looks at a service's system calls.
strace_() {
  local home="$tools/strace"
  if "$tools/bin/strace" --version >/dev/null 2>&1; then
    report "strace" "there"
    return
  fi
  rm -rf "$home" "$tools/bin/strace"
  if command -v strace >/dev/null; then
    ln -s "$(command -v strace)" "$tools/bin/strace"
    report "strace" "found in $(command -v strace)"
  elif ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    report "strace" "left out: neither strace nor apt-get is there"
  else
    mkdir -p "$home"
    debian_lists "$home"
    debian_unpack "$home" strace
    printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s" "$@"\n' \
      "$(debian_libraries "$home")" "$home/root/usr/bin/strace" >"$tools/bin/strace"
    chmod +x "$tools/bin/strace"
    report "strace" "unpacked from Debian's packages"
  fi
}

cargo_deny
grpcurl
python
localstack
postgresql
strace_
