"""Keeps a host's disk from filling up with images, and makes room when a pull finds none."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from pydantic import ValidationError

from fleetwide.containers.image_room import HeldImage, Kept, removable
from fleetwide.errors import FleetwideError, InvalidInput, NotFound
from fleetwide.models.image_room import ImageCollection, WantedImages
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.objects import ObjectStore
from fleetwide.settings import Settings

LOOK_SECONDS = 15.0
WANTED_KEY = "fleet/wanted-images.json"
MAX_NAMES = 50
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Marks:
    """When a collection begins and ends, as parts of the file system, and what it leaves alone."""

    high: float
    low: float
    grace_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> "Marks":
        """Raises ``InvalidInput`` when the low mark is above the high one."""
        high, low = settings.image_high_mark, settings.image_low_mark
        if low > high:
            raise InvalidInput.for_field(
                "image_low_mark", f"must be at most image_high_mark, which is {high:g}", given=low
            )
        return cls(high, low, settings.image_grace_minutes * 60)


def publish_wanted(store: ObjectStore, images: Iterable[str]) -> None:
    """Tell all hosts which images tasks that wait or run are made of."""
    wanted = WantedImages(images=sorted(images))
    store.put_bytes(WANTED_KEY, wanted.model_dump_json().encode())


class UseBook:
    """When each image was last used, by id and by name, over restarts of the worker."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._times = _read_times(path)
        self._changed = False

    def note(self, key: str, at: float) -> None:
        with self._lock:
            if at > self._times.get(key, 0.0):
                self._times[key] = at
                self._changed = True

    def last(self, keys: Iterable[str], now: float) -> float:
        """The latest use of any; what was never heard of counts as used now."""
        keys = list(keys)
        with self._lock:
            known = [self._times[key] for key in keys if key in self._times]
            if known:
                return max(known)
            self._times.update(dict.fromkeys(keys, now))
            self._changed = True
            return now

    def save(self, still: Iterable[str]) -> None:
        """Write it down, without what is no more."""
        kept = set(still)
        with self._lock:
            gone = self._times.keys() - kept
            if not (self._changed or gone):
                return
            self._times = {key: at for key, at in self._times.items() if key in kept}
            self._changed = False
            text = json.dumps(self._times)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        partial.write_text(text)
        partial.replace(self._path)


def _read_times(path: Path) -> dict[str, float]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return {str(key): float(at) for key, at in found.items()}


class ImageKeeper:
    """Watches one host's images; its methods may be called from any thread."""

    def __init__(
        self,
        host: ContainerHost,
        store: ObjectStore,
        book: UseBook,
        marks: Marks,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._host = host
        self._store = store
        self._book = book
        self._marks = marks
        self._clock = clock
        self._collecting = Lock()
        self._root: Path | None = None
        self.last: ImageCollection | None = None
        """The last collection of this process that removed something, or could not."""

    @classmethod
    def from_settings(
        cls, host: ContainerHost, store: ObjectStore, settings: Settings
    ) -> "ImageKeeper":
        book = UseBook(settings.state_dir / f"image-uses-{settings.host_id}.json")
        return cls(host, store, book, Marks.of(settings))

    def note_use(self, image: str) -> None:
        """A container is made of ``image`` (an engine's name), or it was fetched."""
        self._book.note(image, self._clock())

    def look(self) -> None:
        """Note which images are in use; collect above the high mark.

        Raises ``DockerUnavailable``.
        """
        images, in_use = self._images(), self._in_use()
        now = self._clock()
        for used in in_use:
            self._book.note(used, now)
        self._book.save([key for image in images for key in (image.id, *image.names)])
        if self._used() >= self._marks.high:
            self._collect(f"above {self._marks.high:.0%}")

    def room(self) -> tuple[int, int] | None:
        """Bytes free and in all where the engine's data lie; None where that is elsewhere.

        Raises ``DockerUnavailable``.
        """
        try:
            found = shutil.disk_usage(self._data_root())
        except FileNotFoundError:
            return None
        return found.free, found.total

    def make_room(self) -> bool:
        """Collect because a pull found no room; whether anything went."""
        return self._collect("a pull found no room").count > 0

    def _collect(self, reason: str) -> ImageCollection:
        with self._collecting:
            before, free = self._used(), self._free()
            gone: list[HeldImage] = []
            for image in removable(self._images(), self._kept()):
                if self._used() <= self._marks.low:
                    break
                for name in image.names:
                    self._host.forget_name(name)
                gone.append(image)
            after = self._used()
            done = ImageCollection(
                at=datetime.now(UTC),
                reason=reason,
                freed=max(0, self._free() - free),
                removed=[image.names[-1] for image in gone][:MAX_NAMES],
                count=len(gone),
                used_before=round(before, 3),
                used_after=round(after, 3),
                short=after > self._marks.low,
            )
            self._remember(done)
            return done

    def _remember(self, done: ImageCollection) -> None:
        # A disk that is full of other things is told once, and not at every look.
        if done.count or self.last is None or not self.last.short:
            self.last = done
            _log.info("images collected: %s", done.sentence())

    def _kept(self) -> Kept:
        return Kept(
            registry=self._host.image_name(""),
            in_use=self._in_use(),
            wanted=frozenset(map(self._host.image_name, self._wanted())),
            used_since=self._clock() - self._marks.grace_seconds,
        )

    def _wanted(self) -> list[str]:
        try:
            return WantedImages.model_validate_json(self._store.get_bytes(WANTED_KEY)).images
        except (NotFound, ValidationError):
            return []

    def _images(self) -> list[HeldImage]:
        with self._host.engine("list images") as api:
            found: list[dict[str, Any]] = api.images()
        now = self._clock()
        return [_held(image, self._book, now) for image in found]

    def _in_use(self) -> set[str]:
        with self._host.engine("list containers") as api:
            return {container["ImageID"] for container in api.containers(all=True)}

    def _used(self) -> float:
        disk = shutil.disk_usage(self._data_root())
        return 1 - disk.free / disk.total

    def _free(self) -> int:
        return shutil.disk_usage(self._data_root()).free

    def _data_root(self) -> Path:
        if self._root is None:
            with self._host.engine("find its data") as api:
                self._root = Path(api.info()["DockerRootDir"])
        return self._root


def _held(image: dict[str, Any], book: UseBook, now: float) -> HeldImage:
    known = [*(image["RepoTags"] or []), *(image["RepoDigests"] or [])]
    names = tuple(name for name in known if "<none>" not in name)
    used_at = book.last((image["Id"], *names), now)
    return HeldImage(image["Id"], names, image["Size"], used_at)


def keep_looking(keeper: ImageKeeper, nap: Callable[[float], bool]) -> None:
    """Look again and again until ``nap`` answers True; a failing look is tried again.

    A daemon on another machine has a disk that cannot be seen from here: nothing is collected.
    """
    while not nap(LOOK_SECONDS):
        with suppress(FileNotFoundError):
            try:
                keeper.look()
            except FleetwideError:
                _log.warning("could not look after the images", exc_info=True)
