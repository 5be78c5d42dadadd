"""The docker CLI and daemon: login, push, pull, mount, and what they say when they may not."""

import gzip
import json
import re
import secrets
from pathlib import Path

import pytest

from tests.integration.registry_clients.conftest import Docker
from tests.oci_objects import layer_of
from tests.registry_stack import PASSWORD, Stack

pytestmark = pytest.mark.integration


def _tar(size: int = 300_000) -> bytes:
    compressed, _ = layer_of({"data": secrets.token_bytes(size)})
    return gzip.decompress(compressed)


def _pushed(said: str) -> str:
    found = re.search(r"digest: (sha256:[0-9a-f]{64})", said)
    assert found, said
    return found[1]


def test_login_says_whether_the_password_is_right(stack: Stack, docker: Docker) -> None:
    assert "Login Succeeded" in docker.login(stack.address, "admin", PASSWORD)
    said = docker.login(stack.address, "admin", "wrong", code=1)
    assert "unauthorized" in said
    assert "Login Succeeded" not in said


def test_push_and_pull(stack: Stack, docker: Docker, repository: str) -> None:
    docker.login(stack.address, "admin", PASSWORD)
    reference = f"{stack.address}/{repository}:v1"
    docker.load(_tar(), reference)
    digest = _pushed(docker("push", reference))
    identity = docker("image", "inspect", "-f", "{{.Id}}", reference)
    docker.forget([reference])
    docker("pull", reference)
    assert docker("image", "inspect", "-f", "{{.Id}}", reference) == identity
    found = docker("image", "inspect", "-f", "{{json .RepoDigests}}", reference)
    assert f"{stack.address}/{repository}@{digest}" in json.loads(found)


def test_pull_by_digest(stack: Stack, docker: Docker, repository: str) -> None:
    docker.login(stack.address, "admin", PASSWORD)
    reference = f"{stack.address}/{repository}:v1"
    docker.load(_tar(), reference)
    pinned = f"{stack.address}/{repository}@{_pushed(docker('push', reference))}"
    docker.forget([reference])
    assert "Status: Downloaded newer image" in docker("pull", pinned)
    docker.forget([pinned])


def test_a_second_push_sends_nothing_and_another_repository_mounts(
    stack: Stack, docker: Docker, repository: str
) -> None:
    docker.login(stack.address, "admin", PASSWORD)
    first = f"{stack.address}/{repository}:v1"
    second = f"{stack.address}/{repository}/copy:v1"
    docker.load(_tar(), first, second)
    assert "Pushed" in docker("push", first)
    assert "Layer already exists" in docker("push", first)
    assert f"Mounted from {repository}" in docker("push", second)
    docker.forget([first, second])
    docker("pull", second)


def test_a_reader_may_pull_but_not_push(stack: Stack, docker: Docker, repository: str) -> None:
    docker.login(stack.address, "admin", PASSWORD)
    reference = f"{stack.address}/{repository}:v1"
    other = f"{stack.address}/{repository}:v2"
    docker.load(_tar(), reference, other)
    docker("push", reference)
    docker.login(stack.address, "reader", PASSWORD)
    assert "denied" in docker("push", other, code=1)
    docker.forget([reference, other])
    docker("pull", reference)
    docker("pull", other, code=1)


def test_nobody_may_pull_without_a_login(
    stack: Stack, docker: Docker, repository: str, tmp_path: Path
) -> None:
    docker.login(stack.address, "admin", PASSWORD)
    reference = f"{stack.address}/{repository}:v1"
    docker.load(_tar(), reference)
    docker("push", reference)
    docker.forget([reference])
    stranger = Docker(tmp_path / "stranger")
    said = stranger("pull", reference, code=1)
    assert "unauthorized" in said or "no basic auth credentials" in said


def test_what_is_not_there_is_said_to_be_not_found(
    stack: Stack, docker: Docker, repository: str
) -> None:
    docker.login(stack.address, "admin", PASSWORD)
    said = docker("pull", f"{stack.address}/{repository}:absent", code=1)
    assert "not found" in said or "manifest unknown" in said
