# shellcheck shell=bash disable=SC2154 # `tools` and `report` are scripts/tools.sh's
#
DEBIAN_KEYS=/usr/share/keyrings/debian-archive-keyring.gpg
DEBIAN_MIRROR=http://deb.debian.org/debian

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

# The same for a suite that is not the system's own: `debian_suite HOME SUITE` writes the settings
# with which apt-get looks there alone, for programs that need no more than the C library.
debian_suite() { # home, suite
  mkdir -p "$1/lists/partial" "$1/cache/archives/partial" "$1/state"
  echo "deb [signed-by=$DEBIAN_KEYS] $DEBIAN_MIRROR $2 main" >"$1/suite.list"
  debian_suite_apt "$1" apt-get update 2>"$1/apt.log"
}

debian_suite_apt() { # home, program, argument…
  local home="$1" program="$2"
  shift 2
  debian_apt "$home" "$program" -o "Dir::State=$home/state" -o "Dir::Etc::SourceList=$home/suite.list" \
    -o Dir::Etc::SourceParts=- -o Acquire::Languages=none "$@"
}

# Single programs, unpacked into a folder, each from the newest suite that has it and whose program
# runs here; versions are reported. A row has the program, its package, its path in that, and what
# else of the package goes beside it.
SUITES=(sid trixie bookworm)

debian_programs() { # folder, row…
  local into="$1" home="$1.from" suite row missing
  shift
  mkdir -p "$into"
  missing="$(debian_programs_missing "$into" "$@")"
  if [[ -n "$missing" ]] && command -v apt-get >/dev/null && [[ -r "$DEBIAN_KEYS" ]]; then
    for suite in "${SUITES[@]}"; do
      rm -rf "$home"
      debian_programs_from "$suite" "$home" "$into" "$@" || true # the next suite, or left out below
      [[ -n "$(debian_programs_missing "$into" "$@")" ]] || break
    done
    rm -rf "$home"
  fi
  for row in "$@"; do
    debian_program_report "$into" "${row%% *}" "$missing"
  done
}

debian_programs_missing() { # folder, row…
  local into="$1" row
  shift
  for row in "$@"; do
    "$into/${row%% *}" --version >/dev/null 2>&1 || echo "${row%% *}"
  done
}

debian_programs_from() { # suite, home, folder, row…
  local home="$2" into="$3" row program package path beside packages=()
  debian_suite "$home" "$1" || return
  shift 3
  for row in "$@"; do
    read -r program package path beside <<<"$row"
    "$into/$program" --version >/dev/null 2>&1 || packages+=("$package")
  done
  for package in $(printf '%s\n' "${packages[@]}" | sort -u); do
    # A package that the suite does not have is left to the next one.
    (mkdir -p "$home/packages" && cd "$home/packages" &&
      debian_suite_apt "$home" apt-get download "$package" 2>>"$home/apt.log") || continue
    dpkg-deb --extract "$home"/packages/*.deb "$home/root"
    rm -r "$home/packages"
  done
  for row in "$@"; do
    read -r program package path beside <<<"$row"
    # Under another name first: one that cannot run here leaves the place to the next suite's.
    if [[ -f "$home/root/$path" ]] && "$home/root/$path" --version >/dev/null 2>&1 &&
      ! "$into/$program" --version >/dev/null 2>&1; then
      install "$home/root/$path" "$into/$program"
      for path in $beside; do install -t "$into" "$home/root/$path"; done
    fi
  done
}

debian_program_report() { # folder, program, what was missing
  local version
  version="$("$1/$2" --version 2>&1 | grep -Eo '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1)"
  if [[ -z "$version" ]]; then
    report "$2" "left out: no suite of Debian could be reached that has it and runs here"
  elif grep -qx -e "$2" <<<"$3"; then
    report "$2 $version" "unpacked from Debian's packages"
  else
    report "$2 $version" "there"
  fi
}
