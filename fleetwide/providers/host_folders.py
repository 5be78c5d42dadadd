"""Folders of the host that tasks may mount: only what the host's operator allows."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetwide.errors import InvalidInput
from fleetwide.models.volumes import Volume

WRITABLE_SUFFIX = ":rw"


@dataclass(frozen=True)
class Allowed:
    """A folder of the host that may be mounted, and all below it unless it may be written."""

    path: Path
    writable: bool = False


def parse_allowed(text: str) -> tuple[Allowed, ...]:
    """``/srv/models,/srv/cache:rw``: absolute folders, separated by commas.

    Raises:
        InvalidInput: one is not absolute, or the root itself.
    """
    found = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        path = Path(word.removesuffix(WRITABLE_SUFFIX))
        if not path.is_absolute() or path == Path("/"):
            raise InvalidInput.for_field(
                "host_paths", "must be absolute folders below the root", given=word
            )
        found.append(Allowed(path, word.endswith(WRITABLE_SUFFIX)))
    return tuple(found)


def host_folder(volume: Volume, allowed: Sequence[Allowed]) -> str:
    """The folder that a volume of kind ``host`` stands for, with no link left in its path.

    What containers may write to is mounted whole or not at all: below it one of them could put a
    link, and the next mount would follow it to anywhere.

    Raises:
        InvalidInput: it is not allowed, not there, or leads out of what is allowed.
    """
    assert volume.path is not None
    asked = Path(volume.path)
    rules = [one for one in allowed if asked.is_relative_to(one.path)]
    rule = max(rules, key=lambda one: len(one.path.parts), default=None)
    if rule is None:
        names = ", ".join(str(one.path) for one in allowed) or "no folders"
        raise _refusal(volume, f"this host allows {names}")
    if volume.writable and not rule.writable:
        raise _refusal(volume, "this host lets nobody write there")
    if rule.writable and asked != rule.path:
        raise _refusal(volume, f"only the whole of {rule.path} can be mounted: it can be written")
    found = Path(os.path.realpath(asked))
    if not found.is_relative_to(os.path.realpath(rule.path)):
        raise _refusal(volume, f"a link leads out of {rule.path}")
    if not found.is_dir():
        raise _refusal(volume, "this host has no such folder")
    return str(found)


def _refusal(volume: Volume, why: str) -> InvalidInput:
    field = f"container.volumes.{volume.name}"
    return InvalidInput.for_field(field, f"{volume.path} of volume {volume.name}: {why}")
