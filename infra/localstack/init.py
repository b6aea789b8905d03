"""Makes what the orchestrator uses: its bucket, its queue of tasks, and beside it the queue of the
dead, as `artifacts.create` and `queue.create` would.

LocalStack runs it when it answers, and what LocalStack holds is gone when it ends, so this is at each
start. Doing it twice changes nothing.
"""

import json
import os

import boto3

BUCKET = os.environ.get("PANGEA_BUCKET") or "pangea"
QUEUE = os.environ.get("PANGEA_QUEUE") or "pangea-tasks"
DELIVERIES = os.environ.get("PANGEA_QUEUE_MAX_DELIVERIES") or "10"
REGION = os.environ.get("AWS_DEFAULT_REGION") or "eu-west-2"

MESSAGE_BYTES = "1048576"  # what the largest task needs
DEAD_SECONDS = "1209600"  # the dead are kept as long as SQS allows


def client(service):
    return boto3.client(
        service,
        endpoint_url=os.environ.get("AWS_ENDPOINT_URL") or "http://127.0.0.1:4566",
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def make_bucket():
    s3 = client("s3")
    if BUCKET in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        return
    if REGION == "us-east-1":  # which is the one that may not be named
        s3.create_bucket(Bucket=BUCKET)
    else:
        elsewhere = {"LocationConstraint": REGION}
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=elsewhere)


def make_queues():
    sqs = client("sqs")
    kept = {"MaximumMessageSize": MESSAGE_BYTES, "MessageRetentionPeriod": DEAD_SECONDS}
    dead = sqs.create_queue(QueueName=f"{QUEUE}-dead", Attributes=kept)["QueueUrl"]
    asked = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
    redrive = {
        "deadLetterTargetArn": asked["Attributes"]["QueueArn"],
        "maxReceiveCount": int(DELIVERIES),
    }
    # Written as the orchestrator writes it: LocalStack compares letters when it is asked for a queue
    # that is there, and whoever comes second would be refused.
    redrive = json.dumps(redrive, separators=(",", ":"))
    tasks = {"MaximumMessageSize": MESSAGE_BYTES, "RedrivePolicy": redrive}
    sqs.create_queue(QueueName=QUEUE, Attributes=tasks)


make_bucket()
make_queues()
print(f"localstack: bucket {BUCKET}, queues {QUEUE} and {QUEUE}-dead are there", flush=True)
