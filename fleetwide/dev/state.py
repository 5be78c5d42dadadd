"""The state folder: the plan that runs, and the lock that keeps two commands apart."""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from pydantic import ValidationError

from fleetwide.dev.plan import Plan
from fleetwide.errors import Conflict, InvalidInput

_PLAN = "platform.json"
_LOCK = "platform.lock"


def load_plan(state: Path) -> Plan | None:
    """The plan of the platform that was last started in ``state``; None when there was none."""
    try:
        text = (state / _PLAN).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        return Plan.model_validate_json(text)
    except ValidationError:
        raise InvalidInput(
            f"{state / _PLAN} was written by another version of fleetwide",
            hint=f"remove {state / _PLAN}, then run `fleetwide dev up`",
        ) from None


def store_plan(plan: Plan) -> None:
    write_private(plan.state / _PLAN, plan.model_dump_json(indent=1))


def write_private(path: Path, text: str) -> None:
    """Replace file ``path`` at once by one that only this user can read."""
    fresh = path.with_name(f"{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


def stored_secret(path: Path) -> str:
    """The secret kept in file ``path``; made at random when there is none yet."""
    if not path.exists():
        write_private(path, secrets.token_hex(32))
    return path.read_text(encoding="utf-8")


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Hold the platform in ``state``; the lock ends with the process, however it ends.

    Raises:
        Conflict: another command holds it.
    """
    descriptor = os.open(state / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Conflict(
            f"another `fleetwide dev` command is at work on {state}", hint="wait for it to end"
        ) from None
    finally:
        os.close(descriptor)


def delete(state: Path) -> None:
    """Delete the state folder and nothing else.

    Raises:
        InvalidInput: the folder does not look like the state of a platform.
        Conflict: something is mounted inside it.
    """
    if not (state / _PLAN).is_file():
        raise InvalidInput.for_field(
            "state folder", "holds no platform, so it is not deleted", given=str(state)
        )
    mounts = [part.mountpoint for part in psutil.disk_partitions(all=True)]
    inside = [mount for mount in mounts if Path(mount).is_relative_to(state)]
    if inside:
        raise Conflict(f"still mounted: {', '.join(inside)}", hint=f"umount {inside[0]}")
    shutil.rmtree(state)
