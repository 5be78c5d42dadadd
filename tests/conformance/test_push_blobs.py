"""Push of blobs: whole, in chunks, as a stream, mounted, cancelled, and what goes wrong."""

import secrets
from collections.abc import Iterator

import pytest

from tests.conformance.client import BYTES, Registry, is_error, location, with_query
from tests.oci_objects import digest_of

pytestmark = pytest.mark.integration

DATA = bytes(range(256)) * 4
ABSENT = f"sha256:{'0' * 64}"


def _is_there(registry: Registry, name: str, data: bytes) -> bool:
    found = registry.call("GET", f"{name}/blobs/{digest_of(data)}")
    return found.status_code == 200 and found.content == data


def _chunk(registry: Registry, place: str, data: bytes, first: int) -> "tuple[int, str, str]":
    """Send a chunk; status, Range and the next Location."""
    answer = registry.http.patch(
        place,
        content=data,
        headers={**BYTES, "Content-Range": f"{first}-{first + len(data) - 1}"},
    )
    following = location(answer) if "Location" in answer.headers else place
    return answer.status_code, answer.headers.get("Range", ""), following


def test_post_then_put(registry: Registry, name: str) -> None:
    data = secrets.token_bytes(500)
    done = registry.finish(registry.start(name), digest_of(data), data)
    assert done.status_code == 201
    assert registry.http.get(location(done)).content == data
    assert _is_there(registry, name, data)


def test_a_single_post_is_taken_or_declined_with_a_location(registry: Registry, name: str) -> None:
    data = secrets.token_bytes(200_000)
    path = f"{name}/blobs/uploads/?digest={digest_of(data)}"
    answer = registry.call("POST", path, content=data, headers=BYTES)
    assert answer.status_code in {201, 202}
    if answer.status_code == 202:
        assert registry.finish(location(answer), digest_of(data), data).status_code == 201
    assert _is_there(registry, name, data)


def test_chunks_in_order(registry: Registry, name: str) -> None:
    data, place = secrets.token_bytes(900), registry.start(name)
    for first in range(0, 900, 300):
        status, held, place = _chunk(registry, place, data[first : first + 300], first)
        assert (status, held) == (202, f"0-{first + 299}")
    assert registry.finish(place, digest_of(data)).status_code == 201
    assert _is_there(registry, name, data)


def test_the_last_chunk_may_come_with_put(registry: Registry, name: str) -> None:
    data = secrets.token_bytes(900)
    _, _, place = _chunk(registry, registry.start(name), data[:600], 0)
    done = registry.http.put(
        with_query(place, digest=digest_of(data)),
        content=data[600:],
        headers={**BYTES, "Content-Range": "600-899"},
    )
    assert done.status_code == 201
    assert _is_there(registry, name, data)


def test_a_stream_without_ranges(registry: Registry, name: str) -> None:
    data = secrets.token_bytes(100_000)

    def parts() -> Iterator[bytes]:
        for first in range(0, len(data), 9_000):
            yield data[first : first + 9_000]

    sent = registry.http.patch(registry.start(name), content=parts(), headers=BYTES)
    assert sent.status_code == 202
    assert sent.headers["Range"] == "0-99999"
    assert registry.finish(location(sent), digest_of(data)).status_code == 201
    assert _is_there(registry, name, data)


def test_a_chunk_out_of_order_is_refused_and_the_right_one_goes_on(
    registry: Registry, name: str
) -> None:
    data = secrets.token_bytes(900)
    status, _, place = _chunk(registry, registry.start(name), data[:300], 0)
    assert status == 202
    assert _chunk(registry, place, data[600:], 600)[0] == 416
    assert _chunk(registry, place, data[:300], 0)[0] == 416
    status, held, place = _chunk(registry, place, data[300:], 300)
    assert (status, held) == (202, "0-899")
    assert registry.finish(place, digest_of(data)).status_code == 201


def test_a_first_chunk_that_does_not_begin_at_zero_is_refused(
    registry: Registry, name: str
) -> None:
    assert _chunk(registry, registry.start(name), DATA, 5)[0] == 416


@pytest.mark.parametrize("wrong", ["x-y", "9-3", "0-", "-5"])
def test_a_range_that_cannot_be_is_refused(registry: Registry, name: str, wrong: str) -> None:
    answer = registry.http.patch(
        registry.start(name), content=DATA, headers={**BYTES, "Content-Range": wrong}
    )
    assert answer.status_code in {400, 416}
    assert is_error(answer, answer.status_code)


def test_a_range_of_another_length_than_the_body_is_refused(registry: Registry, name: str) -> None:
    answer = registry.http.patch(
        registry.start(name), content=DATA, headers={**BYTES, "Content-Range": "0-9"}
    )
    assert is_error(answer, answer.status_code)
    assert answer.status_code in {400, 416}


def test_an_upload_says_how_far_it_is(registry: Registry, name: str) -> None:
    _, _, place = _chunk(registry, registry.start(name), DATA, 0)
    status = registry.http.get(place)
    assert status.status_code == 204
    assert status.headers["Range"] == f"0-{len(DATA) - 1}"
    assert status.headers["Location"]


def test_a_cancelled_upload_is_gone(registry: Registry, name: str) -> None:
    place = registry.start(name)
    assert registry.http.delete(place).status_code == 204
    assert is_error(registry.http.get(place), 404, "BLOB_UPLOAD_UNKNOWN")


def test_a_finished_upload_is_gone(registry: Registry, name: str) -> None:
    place = registry.start(name)
    assert registry.finish(place, digest_of(DATA), DATA).status_code == 201
    assert is_error(registry.finish(place, digest_of(DATA), DATA), 404, "BLOB_UPLOAD_UNKNOWN")


def test_an_upload_that_never_was_is_not_found(registry: Registry, name: str) -> None:
    registry.push_blob(name, DATA)
    place = f"{name}/blobs/uploads/6f9c5a0a-7a4c-4c55-8f7e-2b8a1f6a9c11"
    answer = registry.call("PATCH", place, content=DATA, headers=BYTES)
    assert is_error(answer, 404, "BLOB_UPLOAD_UNKNOWN", "NAME_UNKNOWN")


def test_other_bytes_than_the_digest_says_are_refused(registry: Registry, name: str) -> None:
    answer = registry.finish(registry.start(name), ABSENT, DATA)
    assert is_error(answer, 400, "DIGEST_INVALID")
    assert registry.call("HEAD", f"{name}/blobs/{ABSENT}").status_code == 404


@pytest.mark.parametrize("wrong", ["sha256:short", "nothing", "sha256:" + "Z" * 64, "md5:abc"])
def test_a_digest_that_cannot_be_is_refused(registry: Registry, name: str, wrong: str) -> None:
    answer = registry.finish(registry.start(name), wrong, DATA)
    assert is_error(answer, 400, "DIGEST_INVALID", "UNSUPPORTED")


def test_put_without_a_digest_is_refused(registry: Registry, name: str) -> None:
    answer = registry.http.put(registry.start(name), content=DATA, headers=BYTES)
    assert is_error(answer, 400, "DIGEST_INVALID")


def test_a_blob_may_be_pushed_again(registry: Registry, name: str) -> None:
    for _ in range(2):
        registry.push_blob(name, DATA)
    assert _is_there(registry, name, DATA)


def test_a_mount_makes_a_blob_of_another_repository_ones_own(registry: Registry, name: str) -> None:
    data = secrets.token_bytes(500)
    digest = registry.push_blob(f"{name}/from", data)
    path = f"{name}/to/blobs/uploads/?mount={digest}&from={name}/from"
    answer = registry.call("POST", path)
    assert answer.status_code == 201
    assert registry.http.get(location(answer)).content == data
    assert _is_there(registry, f"{name}/to", data)


@pytest.mark.parametrize("source", ["&from={name}/absent", ""])
def test_a_mount_that_cannot_be_falls_back_to_an_upload(
    registry: Registry, name: str, source: str
) -> None:
    data = secrets.token_bytes(500)
    registry.push_blob(f"{name}/from", data)
    path = f"{name}/to/blobs/uploads/?mount={digest_of(data)}{source.format(name=name)}"
    answer = registry.call("POST", path)
    assert answer.status_code == 202
    assert registry.call("HEAD", f"{name}/to/blobs/{digest_of(data)}").status_code == 404
    assert registry.finish(location(answer), digest_of(data), data).status_code == 201
    assert _is_there(registry, f"{name}/to", data)


def test_sha512_works_or_says_that_it_is_unsupported(registry: Registry, name: str) -> None:
    digest = digest_of(DATA, "sha512")
    answer = registry.finish(registry.start(name), digest, DATA)
    if answer.status_code == 201:
        assert registry.call("GET", f"{name}/blobs/{digest}").content == DATA
    else:
        assert is_error(answer, 400, "UNSUPPORTED")
