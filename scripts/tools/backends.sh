# shellcheck shell=bash disable=SC2154 # `tools` and `report` are scripts/tools.sh's
#
# The real LocalStack and PostgreSQL, and what tests look at services with.

POSTGRESQL_MIN=14 # the oldest that its makers still mend

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

