"""What errands leave in the object store: input, outputs, results; for some hours.

Everything of one errand lies below ``errands/<id>/``. The id is a ULID, so it tells its age.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from ulid import ULID

from fleetwide.errors import NotFound
from fleetwide.models.errands import ErrandInput, FileListing, OutputStream
from fleetwide.providers.objects import ObjectStore

PREFIX = "errands/"
INPUT = "/input.json"
INPUT_LIFETIME = timedelta(minutes=15)
PLACED_WITHIN = timedelta(minutes=10)
"""A command is not begun later: its input would be gone."""


def new_errand_id() -> str:
    return str(ULID()).lower()


def folder(errand_id: str) -> str:
    return f"{PREFIX}{errand_id}"


def output_key(errand_id: str, stream: OutputStream) -> str:
    """Where the segments of an output begin, as ``attempt_logs`` lays them."""
    return f"{folder(errand_id)}/{stream}"


def content_key(errand_id: str) -> str:
    """The file, or the tar of the folder, that was fetched."""
    return f"{folder(errand_id)}/content"


def save_input(store: ObjectStore, errand_id: str, given: ErrandInput) -> None:
    store.put_bytes(_input_key(errand_id), given.model_dump_json().encode())


def take_input(store: ObjectStore, errand_id: str) -> ErrandInput:
    """What the errand was given; nobody reads it a second time."""
    try:
        data = store.get_bytes(_input_key(errand_id))
    except NotFound:
        return ErrandInput()
    store.delete(_input_key(errand_id))
    return ErrandInput.model_validate_json(data)


def drop_input(store: ObjectStore, errand_id: str) -> None:
    """Nobody is going to read it."""
    store.delete(_input_key(errand_id))


def save_listing(store: ObjectStore, errand_id: str, listing: FileListing) -> None:
    store.put_bytes(_listing_key(errand_id), listing.model_dump_json().encode())


def load_listing(store: ObjectStore, errand_id: str) -> FileListing:
    """The listing; raises ``NotFound`` when its time is over."""
    return FileListing.model_validate_json(store.get_bytes(_listing_key(errand_id)))


def sweep(store: ObjectStore, now: datetime, lifetime: timedelta) -> int:
    """Delete what errands left that are older than ``lifetime``; the number of objects.

    Inputs go earlier: by then no host takes the errand any more, and they may be secrets.
    """
    keys = [one.key for one in store.list(PREFIX)]
    inputs = [key for key in keys if key.endswith(INPUT)]
    old = {*expired(keys, now - lifetime), *expired(inputs, now - INPUT_LIFETIME)}
    for key in old:
        store.delete(key)
    return len(old)


def is_late(errand_id: str, now: datetime) -> bool:
    """Whether it is too late to begin a command, since its input may be gone by then."""
    return bool(expired([f"{folder(errand_id)}{INPUT}"], now - PLACED_WITHIN))


def expired(keys: Sequence[str], before: datetime) -> list[str]:
    """The keys of errands from before a moment; what no errand is called like stays."""
    return [key for key in keys if (born := _born(key)) is not None and born < before]


def _born(key: str) -> datetime | None:
    try:
        return ULID.from_str(key.removeprefix(PREFIX).partition("/")[0].upper()).datetime
    except ValueError:
        return None


def _input_key(errand_id: str) -> str:
    return f"{folder(errand_id)}{INPUT}"


def _listing_key(errand_id: str) -> str:
    return f"{folder(errand_id)}/files.json"
