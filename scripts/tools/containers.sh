# shellcheck shell=bash disable=SC2154 # `tools` and `report` are scripts/tools.sh's
#
# A Docker engine, and what images are made of where none can be pulled, in $tools/containers. They
# take 300 MB and `make e2e-compose` alone wants them, so `make tools` leaves them to it.

# program, package, path in the package, what goes beside it
ENGINE=(
  "dockerd docker.io usr/sbin/dockerd usr/sbin/docker-proxy"
  "docker docker-cli usr/bin/docker"
  "containerd containerd usr/bin/containerd usr/bin/containerd-shim-runc-v2"
  "runc runc usr/sbin/runc"
  "docker-init tini usr/bin/tini-static"
)

containers() {
  local home="$tools/containers"
  mkdir -p "$home"
  debian_programs "$home/bin" "${ENGINE[@]}"
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    report "images" "left out: apt-get and dpkg-deb are not there"
  elif [[ "$(id -u)" != 0 ]]; then
    report "images" "left out: only root can make them"
  else
    containers_beside "$home"
    containers_roots "$home"
  fi
}

# What the engine and the images need besides, from the system's own suite.
containers_beside() { # home
  local home="$1" name root="$1/unpacked/root"
  if "$home/bin/iptables" --version >/dev/null 2>&1 && [[ -x "$home/bin/busybox" ]]; then
    report "iptables, debootstrap" "there"
    return
  fi
  rm -rf "$home/unpacked"
  mkdir -p "$home/unpacked"
  debian_lists "$home/unpacked"
  debian_unpack "$home/unpacked" iptables debootstrap busybox
  for name in iptables ip6tables; do
    printf '#!/bin/sh\nXTABLES_LIBDIR="%s" LD_LIBRARY_PATH="%s" exec "%s" %s "$@"\n' \
      "$(dirname "$(find "$root" -name libxt_standard.so)")" "$(debian_libraries "$home/unpacked")" \
      "$root/usr/sbin/xtables-nft-multi" "$name" >"$home/bin/$name"
  done
  printf '#!/bin/sh\nDEBOOTSTRAP_DIR="%s" exec "%s" "$@"\n' "$root/usr/share/debootstrap" \
    "$root/usr/sbin/debootstrap" >"$home/bin/debootstrap"
  chmod +x "$home/bin/debootstrap" "$home"/bin/ip*tables
  install "$(find "$root" -name busybox -type f -perm -u+x)" "$home/bin/busybox"
  report "iptables, debootstrap" "unpacked from Debian's packages"
}

# debian.tar.gz, a system with nothing in it, and postgres.tar.gz, what a server adds to that. Of
# the system's own suite, because programs that were built here need a C library no older than it.
containers_roots() { # home
  local home="$1" suite
  suite="$(. /etc/os-release && [[ "$ID" == debian ]] && echo "${VERSION_CODENAME:-}" || true)"
  suite="${suite:-bookworm}"
  if [[ "$(cat "$home/suite" 2>/dev/null)" == "$suite" ]]; then
    report "debian, postgres" "there, of $suite"
    return
  fi
  report "debian, postgres" "making roots of $suite; this takes minutes"
  if containers_make "$home" "$suite" >"$home/roots.log" 2>&1; then
    echo "$suite" >"$home/suite"
    rm "$home/roots.log"
    report "debian, postgres" "made, of $suite"
  else
    report "debian, postgres" "left out: no root of $suite could be made; see $home/roots.log"
  fi
}

containers_make() { # home, suite
  local home="$1" root="$1/root"
  rm -rf "$root"
  "$home/bin/debootstrap" --variant=minbase "$2" "$root" "$DEBIAN_MIRROR" &&
    containers_layer "$root" "$home/debian.tar.gz" &&
    touch "$home/added" &&
    containers_postgresql "$root" &&
    containers_layer "$root" "$home/postgres.tar.gz" "$home/added" &&
    rm -rf "$root" "$home/added"
}

# Packs a root: all of it, or what changed since.
containers_layer() { # root, archive, since
  (cd "$1" && find . -xdev -path ./proc/\* -prune -o -path ./sys/\* -prune -o \
    -path './var/cache/apt/*' -prune -o -path './var/lib/apt/lists/*' -prune -o \
    -path './usr/share/doc/*' -prune -o -name '*llvmjit*' -prune -o -name 'libLLVM*' -prune -o \
    ${3:+-cnewer "$3"} -print0 | tar --null --no-recursion --files-from=- --create) |
    gzip -1 >"$2"
}

# With the user id that the image of the compose file has; no cluster, and nothing started.
containers_postgresql() { # root
  printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d" &&
    chmod +x "$1/usr/sbin/policy-rc.d" &&
    mkdir -p "$1/etc/postgresql-common" &&
    echo 'create_main_cluster = false' >"$1/etc/postgresql-common/createcluster.conf" &&
    chroot "$1" groupadd --system --gid 999 postgres &&
    chroot "$1" useradd --system --uid 999 --gid postgres --home-dir /var/lib/postgresql postgres &&
    LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
      chroot "$1" apt-get install -qq --yes --no-install-recommends postgresql
}
