"""Seccomp profiles that a host's operator keeps for containers, one JSON file each."""

import json
from pathlib import Path

from fleetwide.errors import InvalidInput
from fleetwide.models.isolation import DEFAULT_PROFILE

FIELD = "container.security.seccomp"


def seccomp_profile(folder: Path | None, name: str) -> str | None:
    """The JSON of a profile; None for the Engine's own.

    Raises:
        InvalidInput: this host has no profile of that name, or it is no JSON.
    """
    if name == DEFAULT_PROFILE:
        return None
    known = sorted(path.stem for path in folder.glob("*.json")) if folder else []
    if folder is None or name not in known:
        has = ", ".join([DEFAULT_PROFILE, *known])
        raise InvalidInput.for_field(FIELD, f"this host has only: {has}", given=name)
    try:
        return json.dumps(json.loads((folder / f"{name}.json").read_bytes()))
    except (OSError, ValueError) as error:
        message = f"this host's profile {name} cannot be read: {type(error).__name__}"
        raise InvalidInput.for_field(FIELD, message, given=name) from error
