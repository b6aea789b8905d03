#!/usr/bin/env bash
# Sets PyTorch and Flower up in $PANGEA_TOOLS/peers, or ~/.cache/pangea/tools/peers, for
# `make bench-peers`. Takes 3.4 GB, most of it CUDA's libraries, which PyTorch's wheel does not load
# without. What is already there is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."

pins=bench/peers/requirements.txt
home="${PANGEA_TOOLS:-$HOME/.cache/pangea/tools}/peers"
name="pytorch $(sed -n 's/^torch==//p' "$pins"), flower $(sed -n 's/^flwr==//p' "$pins")"

# Libraries and folders that only work on a GPU, a compilation for one, or Ray's Java would open.
trim() { # packages
  find "$1/nvidia" \( -name 'libcudnn_*' -o -name '*.bc' -o -name '*_static*.a' -o -name 'libnvperf*' \) -delete
  rm -rf "$1"/nvidia/*/include "$1"/torch/include "$1"/ray/jars
}

# Intel's library of products leaves its widest kernels alone on other makers' processors. It asks
# this function, and one that is loaded before answers.
answer() {
  echo 'int mkl_serv_intel_cpu_true(void) { return 1; }' |
    cc -shared -fPIC -O2 -x c -o "$home/mkl_vendor.so" -
}

if cmp -s "$pins" "$home/wanted"; then
  echo "$name: there"
  exit
fi
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "bench-peers-setup: python3, 3.11 or newer, is not there" >&2
  exit 1
fi
if ! command -v cc >/dev/null; then
  echo "bench-peers-setup: cc is not there; any C compiler of that name will do" >&2
  exit 1
fi
echo "$name: setting up; this downloads 2.5 GB"
rm -rf "$home"
python3 -m venv "$home"
"$home/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-compile --no-cache-dir \
  --requirement "$pins"
packages="$("$home/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
trim "$packages"
answer
# Flower starts a process for each message: none is to compile what it imports. A few files that
# nothing imports are for other versions of Python, and do not compile.
"$home/bin/python" -m compileall -q -j 0 "$packages" >/dev/null || true
FLWR_TELEMETRY_ENABLED=0 "$home/bin/python" -c 'import flwr.client, flwr.server, flwr.simulation, ray, torch'
cp "$pins" "$home/wanted"
echo "$name: set up in $home ($(du -sh "$home" | cut -f1))"
