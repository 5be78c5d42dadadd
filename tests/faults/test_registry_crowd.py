"""Ten thousand hosts pull one image at once."""

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.conformance.client import Registry
from tests.oci_objects import MANIFEST, Manifest, image
from tests.registry_stack import Stack, registry_stack

pytestmark = pytest.mark.integration

PULLS = 10_000
CONNECTIONS = 200
NAME = "faults/crowd"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with registry_stack(tmp_path_factory.mktemp("crowd")) as made:
        yield made


async def _get(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str
) -> tuple[int, bytes]:
    """One request on a connection that stays open."""
    head = f"GET /v2/{NAME}/{path} HTTP/1.1\r\nHost: registry\r\nAccept: {MANIFEST}\r\n\r\n"
    writer.write(head.encode())
    answer = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(answer[9:12]), await reader.readexactly(length)


async def _host(address: str, made: Manifest, left: Iterator[int]) -> int:
    """Pull the image as long as there is somebody left to pull it for; how often that was."""
    name, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    pulled = 0
    layer = Manifest(made.blobs[1])
    try:
        for _ in left:
            assert await _get(reader, writer, "manifests/v1") == (200, made.data)
            assert await _get(reader, writer, f"blobs/{layer.digest}") == (200, layer.data)
            pulled += 1
    finally:
        writer.close()
        await writer.wait_closed()
    return pulled


async def test_ten_thousand_pulls_of_one_image_all_get_it(stack: Stack) -> None:
    made = image(1, size=2000)
    client = Registry(stack.url)
    with client.http:
        client.push(NAME, made, ["v1"])
    left = iter(range(PULLS))
    address = urlsplit(stack.url).netloc
    pulled = await asyncio.gather(*(_host(address, made, left) for _ in range(CONNECTIONS)))
    assert sum(pulled) == PULLS
