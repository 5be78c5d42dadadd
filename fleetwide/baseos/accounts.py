"""Accounts as lines of passwd, shadow, group and gshadow. No tool of the image is needed."""

from dataclasses import dataclass, replace

from fleetwide.errors import InvalidInput
from fleetwide.models.baseos import UserSpec

SECONDS_PER_DAY = 86400


@dataclass(frozen=True)
class AccountFiles:
    """The four account files; one that the image does not have is empty and stays so."""

    passwd: str
    shadow: str
    group: str
    gshadow: str


def add_users(files: AccountFiles, users: list[UserSpec], epoch: int) -> AccountFiles:
    """The files with the users added, each with a group of its own and a locked password.

    Raises:
        InvalidInput: a name or number is taken, or a group does not exist.
    """
    for number, user in enumerate(users):
        files = _add_user(files, user, f"users.{number}", epoch)
    return files


def identifier(files: AccountFiles, owner: str) -> tuple[int, int]:
    """The numbers of ``user:group``, given as names or numbers; without a group the user's own.

    Raises:
        KeyError: there is no such name.
    """
    user, _, group = owner.partition(":")
    rows = {row[0]: row for row in _rows(files.passwd)}
    uid = int(user) if user.isdigit() else int(rows[user][2])
    if not group:
        return uid, int(rows[user][3]) if user in rows else uid
    groups = {row[0]: row for row in _rows(files.group)}
    return uid, int(group) if group.isdigit() else int(groups[group][2])


def _add_user(files: AccountFiles, user: UserSpec, field: str, epoch: int) -> AccountFiles:
    people, groups = _rows(files.passwd), _rows(files.group)
    if any(row[0] == user.name for row in (*people, *groups)):
        raise InvalidInput.for_field(f"{field}.name", "is taken", given=user.name)
    if any(row[2] == str(user.uid) for row in (*people, *groups)):
        raise InvalidInput.for_field(f"{field}.uid", "is taken", given=user.uid)
    unknown = sorted(set(user.groups) - {row[0] for row in groups})
    if unknown:
        raise InvalidInput.for_field(f"{field}.groups", "do not exist", given=unknown)
    home = user.home or "/nonexistent"
    row = f"{user.name}:x:{user.uid}:{user.uid}::{home}:{user.shell}"
    changed = replace(
        files,
        passwd=_with(files.passwd, row),
        group=_with(_joined(files.group, user), f"{user.name}:x:{user.uid}:"),
    )
    if files.shadow:
        day = epoch // SECONDS_PER_DAY
        changed = replace(changed, shadow=_with(files.shadow, f"{user.name}:!*:{day}:0:99999:7:::"))
    if files.gshadow:
        gshadow = _with(_joined(files.gshadow, user), f"{user.name}:!::")
        changed = replace(changed, gshadow=gshadow)
    return changed


def _rows(text: str) -> list[list[str]]:
    return [line.split(":") for line in text.splitlines() if line.count(":") >= 3]


def _with(text: str, row: str) -> str:
    return f"{text}{row}\n"


def _joined(text: str, user: UserSpec) -> str:
    """Group lines with the user as one more member of the named groups."""
    lines = []
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name in user.groups:
            line = f"{line},{user.name}" if not rest.endswith(":") else f"{line}{user.name}"  # noqa: PLW2901
        lines.append(line)
    return "".join(f"{line}\n" for line in lines)
