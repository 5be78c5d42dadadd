"""What health checks say is told without a task's secrets, wherever it is cut."""

import time
from collections.abc import Iterator

import pytest

from fleetwide.containers.masks import Masker
from fleetwide.providers.probes import KEPT_COMPLAINT, MAX_SAID, _beginning, hiding

SECRET = b"".join(b"%04d" % n for n in range(300))
FAR = time.monotonic() + 1_000_000


def parts(text: str) -> set[str]:
    """All that is told of the secret, in pieces that are long enough to be no chance."""
    secret = SECRET.decode()
    return {secret[n : n + 12] for n in range(len(secret) - 12) if secret[n : n + 12] in text}


@pytest.mark.parametrize("before", range(KEPT_COMPLAINT - 40, KEPT_COMPLAINT + 10, 7))
def test_a_complaint_is_cut_after_its_secrets_were_taken_out(before: int) -> None:
    said = hiding(lambda: "x" * before + SECRET.decode() + "y" * 500, [SECRET])()
    assert said
    assert len(said) == KEPT_COMPLAINT
    assert not parts(said)


@pytest.mark.parametrize("before", [0, MAX_SAID - 600, MAX_SAID - 5, MAX_SAID + 5, 3 * MAX_SAID])
@pytest.mark.parametrize("size", [7, 1000, 100_000])
def test_of_a_secret_at_the_edge_of_what_is_read_nothing_is_told(before: int, size: int) -> None:
    text = b"x" * before + SECRET + b"y" * 10 * MAX_SAID
    said = _beginning(pieces(text, size), FAR, Masker([SECRET])).decode()
    assert said
    assert not parts(said)


def test_an_output_that_breaks_off_in_a_secret_tells_nothing_of_it() -> None:
    def broken() -> Iterator[bytes]:
        yield b"no: " + SECRET[:100]
        raise OSError("timed out")

    assert _beginning(broken(), FAR, Masker([SECRET])) == b"no: "


def test_where_nobody_knows_the_secrets_nothing_is_told() -> None:
    said = hiding(lambda: f"exit code 1: {SECRET.decode()}", None)()
    assert said
    assert not parts(said)
    assert hiding(lambda: None, None)() is None


def pieces(text: bytes, size: int) -> Iterator[bytes]:
    return (text[n : n + size] for n in range(0, len(text), size))
