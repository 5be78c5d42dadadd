"""oras: artifacts that are no images, by its Python library."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import oras.client
import pytest

from tests.registry_stack import PASSWORD, Stack

pytestmark = pytest.mark.integration


def _token(stack: Stack, repository: str) -> str:
    """A token for all that a push does.

    oras asks by itself for each right as it meets it, but gives up at the second: it takes only
    403 as a reason for a new token, and Docker's protocol has 401.
    """
    challenge = httpx2.get(f"{stack.url}/v2/", trust_env=False).headers["WWW-Authenticate"]
    asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    answer = httpx2.get(
        asked["realm"],
        params={"service": asked["service"], "scope": f"repository:{repository}:pull,push"},
        auth=("admin", PASSWORD),
        trust_env=False,
    )
    token: str = answer.json()["token"]
    return token


@pytest.fixture
def client(stack: Stack, repository: str) -> Iterator[oras.client.OrasClient]:
    made = oras.client.OrasClient(hostname=stack.address, insecure=True)
    made.auth.set_token_auth(_token(stack, repository))
    yield made
    made.session.close()


def test_files_go_in_and_come_out(
    stack: Stack,
    client: oras.client.OrasClient,
    repository: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    data = "of the test\n" * 1000
    Path("artifact.txt").write_text(data)
    target = f"{stack.address}/{repository}:v1"
    answer = client.push(files=["artifact.txt"], target=target)
    assert answer.status_code == 201
    [place] = client.pull(target=target, outdir=str(tmp_path / "out"))
    assert Path(place).read_text() == data
    assert client.get_tags(target) == ["v1"]


def test_a_chunked_upload(
    stack: Stack,
    client: oras.client.OrasClient,
    repository: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("large.bin").write_bytes(bytes(range(256)) * 4000)
    target = f"{stack.address}/{repository}:v1"
    answer = client.push(files=["large.bin"], target=target, do_chunked=True, chunk_size=200_000)
    assert answer.status_code == 201
    [place] = client.pull(target=target, outdir=str(tmp_path / "out"))
    assert Path(place).read_bytes() == bytes(range(256)) * 4000
