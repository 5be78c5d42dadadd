"""Whom an image's user stands for: names and numbers looked up as container engines do."""

from collections.abc import Sequence
from dataclasses import dataclass

from fleetwide.errors import SmokeTestFailed

MAX_ID = 2**31 - 1


@dataclass(frozen=True)
class Accounts:
    """The image's own account files; one that it does not have is empty."""

    passwd: str = ""
    group: str = ""


@dataclass(frozen=True)
class ContainerUser:
    """The numbers that a process runs with, and its home."""

    uid: int
    gid: int
    groups: Sequence[int] = ()
    home: str = "/"


def container_user(user: str, accounts: Accounts) -> ContainerUser:
    """Look up ``user`` or ``user:group``, each a name or a number.

    A number need not be in the files. Without a group the user gets all of its own groups, and
    group 0 where the image does not know it.

    Raises:
        SmokeTestFailed: the image has no such user or group, or the number is past ``MAX_ID``.
    """
    wanted, _, group = user.partition(":")
    row = _named(_people(accounts.passwd), wanted)
    if row is None and not _is_number(wanted):
        raise _unknown("user", wanted, "/etc/passwd")
    uid = int(row[2] if row else wanted)
    home = (row[5] if row else "") or "/"
    groups = _groups(accounts.group)
    if group:
        return ContainerUser(uid, _group(groups, group), home=home)
    if row is None:
        return ContainerUser(uid, 0, home=home)
    also = sorted({int(other[2]) for other in groups if row[0] in other[3].split(",")})
    return ContainerUser(uid, int(row[3]), also, home)


def _group(groups: list[list[str]], wanted: str) -> int:
    row = _named(groups, wanted)
    if row is None and not _is_number(wanted):
        raise _unknown("group", wanted, "/etc/group")
    return int(row[2] if row else wanted)


def _named(rows: list[list[str]], wanted: str) -> list[str] | None:
    """The row of that name, or else of that number."""
    by_name = (row for row in rows if row[0] == wanted)
    by_number = (row for row in rows if row[2] == wanted)
    return next(by_name, None) or next(by_number, None)


def _people(text: str) -> list[list[str]]:
    rows = [line.split(":") for line in text.splitlines()]
    return [row for row in rows if len(row) >= 7 and _is_number(row[2]) and _is_number(row[3])]


def _groups(text: str) -> list[list[str]]:
    rows = [line.split(":") for line in text.splitlines()]
    return [row for row in rows if len(row) >= 4 and _is_number(row[2])]


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= len(str(MAX_ID)) and int(text) <= MAX_ID


def _unknown(what: str, name: str, file: str) -> SmokeTestFailed:
    return SmokeTestFailed(
        f"the image has no {what} {name}: {file} does not name it",
        hint=f"set `user` to numbers such as 65534:65534, or let the artifacts bring the {what}",
    )
