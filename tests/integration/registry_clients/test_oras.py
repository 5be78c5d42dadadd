"""oras: artifacts that are no images, by its Python library."""

from collections.abc import Iterator
from pathlib import Path

import oras.client
import pytest

from tests.registry_stack import PASSWORD, Stack

pytestmark = pytest.mark.integration


@pytest.fixture
def client(stack: Stack) -> Iterator[oras.client.OrasClient]:
    made = oras.client.OrasClient(hostname=stack.address, insecure=True)
    made.auth.set_basic_auth("admin", PASSWORD)
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
