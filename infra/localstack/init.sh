#!/bin/bash
# Makes what the orchestrator uses: its bucket, its queue of tasks, and beside it the queue of the
# dead, as `queue.create` would. LocalStack runs it when it answers, and what it holds is gone when
# it ends, so this is at each start. Doing it twice changes nothing.
set -euo pipefail

bucket="${PANGEA_BUCKET:-pangea}"
queue="${PANGEA_QUEUE:-pangea-tasks}"
deliveries="${PANGEA_QUEUE_MAX_DELIVERIES:-10}"
region="${AWS_DEFAULT_REGION:-eu-west-2}"
message_bytes=1048576  # what the largest task needs
dead_seconds=1209600   # the dead are kept as long as SQS allows
export AWS_DEFAULT_REGION="$region" AWS_PAGER=

aws() {
  # In the image; elsewhere AWS_ENDPOINT_URL says where LocalStack is.
  if [[ -z "${AWS_ENDPOINT_URL:-}" ]]; then awslocal "$@"; else command aws "$@"; fi
}

attribute() { # queue's address, attribute
  aws sqs get-queue-attributes --queue-url "$1" --attribute-names "$2" --output text \
    --query "Attributes.$2"
}

make_queue() { # name, attributes
  aws sqs create-queue --queue-name "$1" --attributes "$2" --query QueueUrl --output text
}

if ! aws s3api head-bucket --bucket "$bucket" 2>/dev/null; then
  aws s3api create-bucket --bucket "$bucket" \
    --create-bucket-configuration "LocationConstraint=$region" >/dev/null
fi
dead="$(make_queue "$queue-dead" \
  "MaximumMessageSize=$message_bytes,MessageRetentionPeriod=$dead_seconds")"
dead="$(attribute "$dead" QueueArn)"
make_queue "$queue" "$(printf '{"MaximumMessageSize":"%s","RedrivePolicy":"%s"}' "$message_bytes" \
  "{\\\"deadLetterTargetArn\\\":\\\"$dead\\\",\\\"maxReceiveCount\\\":$deliveries}")" >/dev/null
echo "localstack: bucket $bucket, queues $queue and $queue-dead are there"
