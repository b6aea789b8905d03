"""Copies a bucket's objects out to a folder, or a folder's files in: `objects.py out|in BUCKET DIR`.

Reads AWS_ENDPOINT_URL and AWS_REGION; credentials come from where Amazon's tools take them. Needs boto3,
which LocalStack brings along.
"""

import os
import pathlib
import sys

import boto3

way, bucket, folder = sys.argv[1:]
root = pathlib.Path(folder)
s3 = boto3.client(
    "s3",
    endpoint_url=os.environ.get("AWS_ENDPOINT_URL") or None,
    region_name=os.environ.get("AWS_REGION") or "eu-west-2",
)

count = 0
if way == "out":
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page.get("Contents", []):
            path = root / entry["Key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(bucket, entry["Key"], str(path))
            count += 1
else:
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        s3.upload_file(str(path), bucket, path.relative_to(root).as_posix())
        count += 1
print(f"{count} objects")
