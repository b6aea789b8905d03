#!/usr/bin/env bash
# Runs LocalStack, with S3 and SQS, in the foreground: `localstack.sh DIR PORT`. It listens at
# 127.0.0.1:PORT, keeps what it holds in memory, and prints "Ready." when it answers. DIR is for its
# temporary files. The process is the server's own, so a signal to it is a signal to the server.
set -euo pipefail
(($# == 2)) || { echo "usage: localstack.sh DIR PORT" >&2; exit 2; }

home="${PANGEA_TOOLS:-$HOME/.cache/pangea/tools}/localstack"
[[ -f "$home/wanted" ]] || { echo "LocalStack is not there; \`make tools\` sets it up" >&2; exit 1; }
# LocalStack would not say so: it takes any answer at its port for its own.
if (: <"/dev/tcp/127.0.0.1/$2") 2>/dev/null; then echo "port $2 is taken" >&2; exit 1; fi
mkdir -p "$1/usr/lib"
dir="$(cd "$1" && pwd)"

# LocalStack looks here for the index of all services' calls. Without it the first request builds
# one, which takes seconds and 350 MB.
ln -sfn "$home/index" "$dir/usr/lib/localstack"

settings=(
  "GATEWAY_LISTEN=127.0.0.1:$2"
  GATEWAY_SERVER=hypercorn # the other one listens at every address of the machine
  'SERVICES=s3,sqs'
  "FILESYSTEM_ROOT=$dir"
  OVERRIDE_IN_DOCKER=0 # or it writes to /var/lib/localstack when it finds itself in a container
  "LOCALSTACK_HOST=127.0.0.1:$2" SQS_ENDPOINT_STRATEGY=path # queues' addresses need no name server
  # Nothing that would reach for the network.
  DISABLE_EVENTS=1 SKIP_SSL_CERT_DOWNLOAD=1 DNS_ADDRESS=0
  SQS_DISABLE_CLOUDWATCH_METRICS=1
  LS_LOG=error
)
exec env "${settings[@]}" "$home/bin/python" -I -m localstack.runtime.main
