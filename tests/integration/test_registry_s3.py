"""Blobs in S3: uploads go through Distribution, reads straight to the bucket."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import boto3
import pytest

from tests.aws import running_aws
from tests.conformance.client import Registry
from tests.oci_objects import MANIFEST, digest_of, image, write_layout
from tests.registry_stack import PASSWORD, Bucket, Stack, StackOptions, registry_stack

pytestmark = pytest.mark.integration

NAME = "apps/s3"


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with running_aws(like_aws=False) as aws:
        made = Bucket(aws.url, "blobs")
        client = boto3.client("s3", endpoint_url=aws.url, region_name=made.region)
        client.create_bucket(Bucket=made.name)
        client.close()
        yield made


@pytest.fixture(scope="module", params=["nginx", "redirect"])
def stack(
    request: pytest.FixtureRequest, bucket: Bucket, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    plane: Literal["nginx", "redirect"] = request.param
    folder = tmp_path_factory.mktemp(f"s3-{plane}")
    with registry_stack(folder, StackOptions(plane=plane, bucket=bucket, auth="token")) as made:
        yield made


def _skopeo(*words: str | Path) -> str:
    command = ["skopeo", "--insecure-policy", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_image_goes_in_by_a_client_and_comes_out_of_the_bucket(
    stack: Stack, bucket: Bucket, tmp_path: Path
) -> None:
    made = image(2, size=20_000)
    write_layout(tmp_path / "in", made, "v1")
    target = f"docker://{stack.address}/{NAME}/{os.urandom(4).hex()}:v1"
    credentials = f"admin:{PASSWORD}"
    words = ("--dest-tls-verify=false", "--dest-creds", credentials)
    _skopeo("copy", *words, f"oci:{tmp_path / 'in'}:v1", target)
    words = ("--src-tls-verify=false", "--src-creds", credentials)
    _skopeo("copy", *words, target, f"oci:{tmp_path / 'out'}:v1")
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert [one["digest"] for one in index["manifests"]] == [made.digest]


def test_a_read_is_sent_to_a_signed_address_that_needs_no_token(
    bucket: Bucket, tmp_path: Path
) -> None:
    with registry_stack(tmp_path, StackOptions(bucket=bucket)) as stack:
        client = Registry(stack.url)
        with client.http:
            data = os.urandom(30_000)
            digest = client.push_blob(NAME, data)
            path = f"{NAME}/blobs/{digest}"
            sent = client.call("GET", path, follow_redirects=False)
            assert sent.status_code == 307
            place = urlsplit(sent.headers["Location"])
            assert f"http://{place.netloc}" == bucket.endpoint
            assert "Signature" in place.query
            assert client.call("GET", path).content == data
            part = client.call("GET", path, headers={"Range": "bytes=5-9"})
            assert (part.status_code, part.content) == (206, data[5:10])
            assert client.call("HEAD", path).headers["Content-Length"] == "30000"
            made = image()
            client.push(NAME, made, ["v1"])
            assert client.get(NAME, "v1", {"Accept": MANIFEST}).content == made.data
            assert client.call("HEAD", f"{NAME}/blobs/{digest_of(b'absent')}").status_code == 404
