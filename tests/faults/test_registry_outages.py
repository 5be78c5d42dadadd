"""A part of the registry is down: what still works, and what those are told who have to wait."""

import os
import shutil
import subprocess
from pathlib import Path

import httpx2
import pytest

from tests.conformance.client import Registry, location, next_page
from tests.faults.registry_parts import client, stack
from tests.oci_objects import MANIFEST, Manifest, image
from tests.platforms import eventually
from tests.postgres import TEMPLATE, Postgres, postgres
from tests.registry_stack import Stack, StackOptions, registry_stack

__all__ = ["client", "postgres", "stack"]
pytestmark = pytest.mark.integration

NAME = "faults/outages"
ACCEPT = {"Accept": MANIFEST}


def _told_to_wait(answer: httpx2.Response) -> bool:
    """Whether this says, as the specification's errors do, to come again."""
    if answer.status_code != 503 or int(answer.headers["Retry-After"]) < 1:
        return False
    if answer.request.method == "HEAD":
        return True
    errors = answer.json()["errors"]
    return [error["code"] for error in errors] == ["UNAVAILABLE"]


def _pushed(client: Registry, *tags: str) -> Manifest:
    made = image(2, size=5000)
    client.push(NAME, made, tags)
    return made


def test_without_distribution_pulls_go_on_and_pushes_wait(stack: Stack, client: Registry) -> None:
    made = _pushed(client, "v1")
    place = client.start(NAME)
    stack.distribution.kill()
    try:
        assert client.get(NAME, "v1", ACCEPT).content == made.data
        layer = client.call("GET", f"{NAME}/blobs/{Manifest(made.blobs[1]).digest}")
        assert layer.content == made.blobs[1]
        assert client.call("GET", f"{NAME}/tags/list").status_code == 200
        assert _told_to_wait(client.call("POST", f"{NAME}/blobs/uploads/"))
        assert _told_to_wait(client.http.patch(place, content=b"x"))
        assert _told_to_wait(client.put(NAME, "v2", made))
        assert _told_to_wait(client.call("HEAD", f"{NAME}/blobs/sha256:{'1' * 64}"))
    finally:
        stack.distribution.start()
    assert client.http.patch(place, content=b"x").status_code == 202
    assert client.get(NAME, "v2", ACCEPT).status_code == 404
    assert client.put(NAME, "v2", made).status_code == 201


def test_without_the_gateway_nginx_speaks_for_it(stack: Stack, client: Registry) -> None:
    _pushed(client, "v1")
    place = client.start(NAME)
    stack.gateway.kill()
    try:
        assert _told_to_wait(client.get(NAME, "v1", ACCEPT))
        assert _told_to_wait(client.http.patch(place, content=b"x"))
    finally:
        stack.gateway.start()
    assert client.http.patch(place, content=b"x").status_code == 202


def test_an_upload_goes_on_after_nginx_was_restarted(stack: Stack, client: Registry) -> None:
    data = os.urandom(100_000)
    sent = client.http.patch(client.start(NAME), content=data[:60_000])
    assert stack.nginx is not None
    stack.nginx.kill()
    with pytest.raises(httpx2.TransportError):
        client.http.get(location(sent))
    stack.nginx.start()
    sent = client.http.patch(
        location(sent), content=data[60_000:], headers={"Content-Range": "60000-99999"}
    )
    assert client.finish(location(sent), Manifest(data).digest).status_code == 201
    assert client.call("GET", f"{NAME}/blobs/{Manifest(data).digest}").content == data


def test_the_catalog_and_tags_are_there_after_all_were_restarted(
    stack: Stack, client: Registry
) -> None:
    made = _pushed(client, "a", "b")
    for service in (stack.nginx, stack.gateway, stack.distribution):
        assert service is not None
        service.kill()
    for service in (stack.distribution, stack.gateway, stack.nginx):
        assert service is not None
        service.start()
    answer = client.call("GET", f"{NAME}/tags/list?n=1")
    assert answer.json()["tags"] == ["a"]
    following = next_page(answer)
    assert following is not None
    assert "b" in client.call("GET", following).json()["tags"]
    assert client.get(NAME, "b", ACCEPT).content == made.data


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_full_disk_refuses_what_does_not_fit_and_keeps_the_rest(tmp_path: Path) -> None:
    storage = tmp_path / "small"
    storage.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", storage], check=True)
    try:
        with registry_stack(tmp_path, StackOptions(storage=storage)) as stack:
            client = Registry(stack.url)
            with client.http:
                _fill(client)
                # As garbage collection does with uploads that nobody goes on with; Distribution
                # holds a file that it could not write on to open for a while.
                shutil.rmtree(storage / "docker/registry/v2/repositories" / NAME / "_uploads")
                stack.distribution.restart()
                made = _pushed(client, "v2")
                assert client.get(NAME, "v2", ACCEPT).content == made.data
    finally:
        subprocess.run(["umount", "--lazy", storage], check=True)


def _fill(client: Registry) -> None:
    made = _pushed(client, "v1")
    large = os.urandom(5_000_000)
    place = client.start(NAME)
    assert _told_to_wait(client.finish(place, Manifest(large).digest, large))
    assert client.call("HEAD", f"{NAME}/blobs/{Manifest(large).digest}").status_code == 404
    assert client.get(NAME, "v1", ACCEPT).content == made.data
    assert _told_to_wait(client.call("POST", f"{NAME}/blobs/uploads/"))


def test_without_sql_cached_manifests_go_on_and_pushes_wait(
    postgres: Postgres, tmp_path: Path
) -> None:
    options = StackOptions(database_url=postgres.database(TEMPLATE))
    with registry_stack(tmp_path, options) as stack:
        client = Registry(stack.url)
        with client.http:
            made, unread = _pushed(client, "v1"), image()
            client.push(NAME, unread, ["unread"])
            for reference in ("v1", made.digest):
                assert client.get(NAME, reference, ACCEPT).content == made.data
            postgres.stop()
            try:
                _without_sql(client, made)
            finally:
                postgres.start()
            assert client.put(NAME, "v2", made).status_code == 201
            # For a second after a failure the gateway does not ask again.
            eventually(lambda: client.get(NAME, "v2", ACCEPT).status_code == 200)
            assert client.get(NAME, "v2", ACCEPT).content == made.data
            assert "Warning" not in client.get(NAME, "v1", ACCEPT).headers


def _without_sql(client: Registry, made: Manifest) -> None:
    for reference in ("v1", made.digest):
        found = client.get(NAME, reference, ACCEPT)
        assert (found.status_code, found.content) == (200, made.data)
        assert found.headers["Docker-Content-Digest"] == made.digest
    assert client.get(NAME, "v1", ACCEPT).headers["Warning"].startswith("299 - ")
    assert _told_to_wait(client.get(NAME, "never-asked-for", ACCEPT))
    assert _told_to_wait(client.put(NAME, "v2", made))
    assert _told_to_wait(client.call("POST", f"{NAME}/blobs/uploads/"))
    assert _told_to_wait(client.call("GET", f"{NAME}/tags/list"))
    assert _told_to_wait(client.call("DELETE", f"{NAME}/manifests/v1"))
