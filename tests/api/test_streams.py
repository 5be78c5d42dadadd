"""Pieces of streams and the way back from a problem to an error."""

import pytest

from api.streams import whole_text
from fleetwide.client.transport import error_from
from fleetwide.errors import TRAITS, ErrorCode, FleetwideError, UserError
from fleetwide.models.documents import Problem


@pytest.mark.parametrize(
    ("data", "final", "expected"),
    [
        (b"abc", False, ("abc", 3)),
        ("hä".encode()[:2], False, ("h", 1)),
        ("hä".encode()[:2], True, ("h\ufffd", 2)),
        (b"\xff!", False, ("\ufffd!", 2)),
        (b"", True, ("", 0)),
    ],
)
def test_a_character_waits_for_its_last_byte(
    data: bytes, final: bool, expected: tuple[str, int]
) -> None:
    assert whole_text(data, final=final) == expected


def told(code: str, status: int) -> FleetwideError:
    return error_from(Problem(type="", title="", status=status, detail="d", code=code, hint="h"))


@pytest.mark.parametrize("code", [code for code in ErrorCode if code is not ErrorCode.INTERNAL])
def test_a_problem_comes_back_as_the_error_that_it_was(code: ErrorCode) -> None:
    error = told(code, TRAITS[code].status)
    assert (error.code, error.message, error.hint) == (code, "d", "h")


def test_unknown_codes_keep_their_family() -> None:
    assert isinstance(told("FromTheFuture", 418), UserError)
    assert type(told("FromTheFuture", 500)) is FleetwideError
