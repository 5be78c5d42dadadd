"""Ten thousand hosts pull one image at once, each over a connection of its own."""

import asyncio
import re
import resource
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conformance.client import Registry
from tests.oci_objects import MANIFEST, Manifest, image
from tests.registry_stack import Stack, registry_stack

pytestmark = pytest.mark.integration

PULLS = 10_000
AT_LEAST = 4_000
"""Connections; fewer would not tell more than a fraction of them does."""
SPARE = 1_000
"""Open files that a process needs for other things."""
PER_CONNECTION = 32 * 1024
"""Bytes of the gateway's memory."""
NAME = "faults/crowd"


@pytest.fixture(scope="module")
def connections() -> Iterator[int]:
    """How many hosts the machine's limit allows; nginx takes two files for each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * AT_LEAST + SPARE:
        pytest.skip(f"this machine allows {hard} open files; {2 * AT_LEAST + SPARE} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield min(PULLS, (hard - SPARE) // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, connections: int) -> Iterator[Stack]:
    with registry_stack(tmp_path_factory.mktemp("crowd")) as made:
        yield made


class Crowd:
    """All hosts; nobody asks for anything before everybody is connected."""

    def __init__(self, url: str, made: Manifest, connections: int) -> None:
        self._host, _, port = urlsplit(url).netloc.partition(":")
        self._port = int(port)
        self._made = made
        self._layer = Manifest(made.blobs[1])
        self._left = iter(range(PULLS))
        self._all_here = asyncio.Barrier(connections)

    async def host(self) -> int:
        """Pull as long as there is somebody left to pull for; how often that was."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        pulled = 0
        try:
            await self._all_here.wait()
            for _ in self._left:
                assert await _get(reader, writer, "manifests/v1") == (200, self._made.data)
                path = f"blobs/{self._layer.digest}"
                assert await _get(reader, writer, path) == (200, self._layer.data)
                pulled += 1
        finally:
            writer.close()
        return pulled


async def _get(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str
) -> tuple[int, bytes]:
    """One request on a connection that stays open."""
    head = f"GET /v2/{NAME}/{path} HTTP/1.1\r\nHost: registry\r\nAccept: {MANIFEST}\r\n\r\n"
    writer.write(head.encode())
    answer = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(answer[9:12]), await reader.readexactly(length)


def _memory(pid: int) -> int:
    """The most bytes that the process has had in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


async def test_ten_thousand_pulls_of_one_image_all_get_it(stack: Stack, connections: int) -> None:
    made = image(1, size=2000)
    client = Registry(stack.url)
    with client.http:
        client.push(NAME, made, ["v1"])
    before = _memory(stack.gateway.pid)
    crowd = Crowd(stack.url, made, connections)
    async with asyncio.timeout(240), asyncio.TaskGroup() as hosts:
        tasks = [hosts.create_task(crowd.host()) for _ in range(connections)]
    assert sum(task.result() for task in tasks) == PULLS
    assert _memory(stack.gateway.pid) - before < connections * PER_CONNECTION
