"""The front door in a folder whose name nginx's file could stumble over."""

from pathlib import Path

import pytest

from tests.conformance.client import Registry
from tests.oci_objects import digest_of, image
from tests.registry_stack import registry_stack

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("name", ["my state", "a;b {c} #d 'é'"])
def test_nginx_serves_blobs_from_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    with registry_stack(folder) as stack:
        client, made = Registry(stack.url), image()
        with client.http:
            client.push("apps/x", made, ["one"])
            assert client.get("apps/x", "one").content == made.data
            for blob in made.blobs:
                assert client.call("GET", f"apps/x/blobs/{digest_of(blob)}").content == blob
