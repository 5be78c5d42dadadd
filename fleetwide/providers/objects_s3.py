"""The object store in an S3 bucket."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from fleetwide.errors import NotFound, ObjectStoreUnavailable
from fleetwide.providers.objects import ByteStream, StoredObject, checked_key, checked_prefix
from fleetwide.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MISSING_CODES = frozenset({"404", "NoSuchKey", "NotFound"})


def s3_client(settings: Settings) -> "S3Client":
    """A client for the settings' endpoint and region; safe to share between threads."""
    config = Config(
        connect_timeout=5,
        read_timeout=30,
        max_pool_connections=32,
        retries={"mode": "standard", "total_max_attempts": 4},
    )
    client: S3Client = boto3.session.Session().client(
        "s3",
        endpoint_url=settings.aws_endpoint_url,
        region_name=settings.aws_region,
        config=config,
    )
    return client


class S3Store:
    """An ``ObjectStore`` under ``prefix`` of ``bucket``; safe to share between threads."""

    def __init__(self, client: "S3Client", bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{checked_key(prefix)}/" if prefix else ""

    @classmethod
    def connect(cls, settings: Settings, bucket: str, prefix: str) -> "S3Store":
        return cls(s3_client(settings), bucket, prefix)

    def put_bytes(self, key: str, data: bytes) -> None:
        with self._translated(key):
            self._client.put_object(Bucket=self._bucket, Key=self._full(key), Body=data)

    def put_file(self, key: str, path: Path) -> None:
        with self._translated(key):
            self._client.upload_file(str(path), self._bucket, self._full(key))

    def move_file(self, key: str, path: Path) -> None:
        self.put_file(key, path)
        path.unlink()

    def get_bytes(self, key: str) -> bytes:
        with self._translated(key):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._full(key))
            return answer["Body"].read()

    def get_file(self, key: str, path: Path) -> None:
        with self._translated(key):
            # boto3 downloads beside the target and renames.
            self._client.download_file(self._bucket, self._full(key), str(path))

    def open_stream(self, key: str) -> ByteStream:
        with self._translated(key):
            return self._client.get_object(Bucket=self._bucket, Key=self._full(key))["Body"]

    def exists(self, key: str) -> bool:
        try:
            with self._translated(key):
                self._client.head_object(Bucket=self._bucket, Key=self._full(key))
        except NotFound:
            return False
        return True

    def list(self, prefix: str) -> list[StoredObject]:
        full = self._prefix + checked_prefix(prefix)
        with self._translated(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=full
            )
            return [
                StoredObject(item.get("Key", "").removeprefix(self._prefix), item.get("Size", 0))
                for page in pages
                for item in page.get("Contents", [])
            ]

    def delete(self, key: str) -> None:
        with self._translated(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._full(key))

    def _full(self, key: str) -> str:
        return self._prefix + checked_key(key)

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in MISSING_CODES:
                raise NotFound(f"the object store has no object {key!r}") from error
            raise self._unavailable(key, code) from error
        except (BotoCoreError, Boto3Error) as error:
            raise self._unavailable(key, type(error).__name__) from error

    def _unavailable(self, key: str, why: str) -> ObjectStoreUnavailable:
        return ObjectStoreUnavailable(
            f"the bucket {self._bucket} did not serve {key!r}: {why}",
            hint=f"aws s3 ls s3://{self._bucket}/",
        )
