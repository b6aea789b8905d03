"""Copies a bucket's objects out to a folder, or a folder's files in: `objects.py out|in BUCKET DIR`; or
says what there is: `objects.py ls BUCKET`, of all buckets how many objects they have, of this one by folder.

Out, what the folder has already is left as it is, since objects are never changed; the newest come
first, since a run in work deletes the oldest, and what was deleted meanwhile is left out.

Reads AWS_ENDPOINT_URL and AWS_REGION; credentials come from where Amazon's tools take them. Needs boto3,
which LocalStack brings along.
"""

import collections
import os
import pathlib
import sys

import boto3
from botocore.exceptions import ClientError

way, bucket, *folder = sys.argv[1:]
root = pathlib.Path(*folder)
s3 = boto3.client(
    "s3",
    endpoint_url=os.environ.get("AWS_ENDPOINT_URL") or None,
    region_name=os.environ.get("AWS_REGION") or "eu-west-2",
)



def listed(name):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=name)
    return [entry for page in pages for entry in page.get("Contents", [])]


def say(name, entries):
    print(f"{name:<40} {len(entries):>7} objects {sum(entry['Size'] for entry in entries):>14} bytes")


if way == "ls":
    for name in [found["Name"] for found in s3.list_buckets()["Buckets"]]:
        entries = listed(name)
        say(f"s3://{name}", entries)
        if name == bucket:
            folders = collections.defaultdict(list)
            for entry in entries:
                folders[entry["Key"].partition("/")[0]].append(entry)
            for key, inside in sorted(folders.items()):
                say(f"  {key}/", inside)
    sys.exit()
count = 0
if way == "out":
    entries = listed(bucket)
    for entry in sorted(entries, key=lambda entry: entry["LastModified"], reverse=True):
        path = root / entry["Key"]
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            s3.download_file(bucket, entry["Key"], str(path))
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("404", "NoSuchKey"):
                raise
            continue
        count += 1
else:
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        s3.upload_file(str(path), bucket, path.relative_to(root).as_posix())
        count += 1
print(f"{count} objects")
