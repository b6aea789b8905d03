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
