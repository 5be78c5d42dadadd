"""Where clients read the bytes of a blob: never here."""

from typing import Any
from urllib.parse import urlsplit

from api.oci.replies import Header, Reply, header
from fleetwide.errors import InvalidInput
from fleetwide.registry.digests import hex_of
from fleetwide.registry.nginx import BLOBS
from fleetwide.settings import Settings

LAYOUT = "docker/registry/v2/blobs/"
PRESIGNED_SECONDS = 20 * 60


class BlobPlaces:
    """By the data plane and the storage: a file for nginx, a presigned URL, or Distribution."""

    def __init__(self, settings: Settings) -> None:
        self.distribution = (settings.registry_uploads_url or settings.registry_backend_url).rstrip(
            "/"
        )
        self.by_nginx = settings.registry_data_plane == "nginx"
        self._bucket = _Bucket.of(settings)

    def reply(self, repository: str, digest: str) -> Reply:
        """The answer to a GET of a blob that belongs to the repository."""
        if self._bucket is not None:
            return _redirect(self._bucket.url(digest))
        if not self.by_nginx:
            return _redirect(f"{self.distribution}/v2/{repository}/blobs/{digest}")
        return Reply(200, [header("x-accel-redirect", BLOBS + _path(digest)), *headers(digest)])


def headers(digest: str) -> list[Header]:
    """What is said of a blob wherever its bytes come from."""
    return [
        (b"content-type", b"application/octet-stream"),
        header("docker-content-digest", digest),
        header("etag", f'"{digest}"'),
    ]


def _redirect(url: str) -> Reply:
    return Reply(307, [header("location", url)])


def _path(digest: str) -> str:
    digits = hex_of(digest)
    return f"sha256/{digits[:2]}/{digits}/data"


class _Bucket:
    """Blobs in S3, read by URLs that are signed here for a few minutes."""

    def __init__(self, settings: Settings, bucket: str, prefix: str) -> None:
        # Only where blobs lie in S3; boto3 takes a tenth of a second and 20 MiB.
        import boto3  # noqa: PLC0415

        self._client: Any = boto3.client(
            "s3", endpoint_url=settings.aws_endpoint_url, region_name=settings.aws_region
        )
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    @classmethod
    def of(cls, settings: Settings) -> "_Bucket | None":
        """The bucket of the settings; None where blobs lie in files.

        Raises:
            InvalidInput: the storage is neither.
        """
        place = urlsplit(settings.registry_storage)
        if place.scheme == "file":
            return None
        if place.scheme != "s3" or not place.netloc:
            raise InvalidInput.for_field(
                "registry_storage",
                "must be file:<folder> or s3://<bucket>/<prefix>",
                given=settings.registry_storage,
            )
        return cls(settings, place.netloc, place.path.strip("/"))

    def url(self, digest: str) -> str:
        key = self._prefix + LAYOUT + _path(digest)
        signed: str = self._client.generate_presigned_url(
            "get_object",
            Params={"Bucket": self._bucket, "Key": key},
            ExpiresIn=PRESIGNED_SECONDS,
        )
        return signed
