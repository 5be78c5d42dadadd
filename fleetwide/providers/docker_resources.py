"""What the Engine is asked about a host's disk and images, in few calls for all containers."""

import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from itertools import islice
from typing import Any

from docker import APIClient

from fleetwide.containers.company import SECRETS
from fleetwide.containers.launch import DISK_LABEL, key_from_labels
from fleetwide.models.hosts import image_mark

MOST_IMAGES = 100
"""Of the images that a host holds so many are told, the newest ones."""
BLOCK = 512
MOST_STEPS = 1_000_000
"""A look at the disks of a host's attempts ends some time: it comes again and again."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def written_bytes(api: APIClient, labels: list[str]) -> dict[str, int]:
    """Bytes that attempts with these labels wrote, by the names of their main containers.

    The writable layers of their containers, and their volumes where these lie on this machine.
    The Engine looks through the layers' folders: the more was written, the longer it takes.
    """
    totals: dict[str, int] = {}
    volumes: dict[str, set[str]] = {}
    for item in api.containers(size=True, filters={"label": labels}):
        key = key_from_labels(item["Labels"] or {})
        if key is not None:
            name = key.container_name()
            totals[name] = totals.get(name, 0) + int(item.get("SizeRw") or 0)
            volumes.setdefault(name, set()).update(_volumes(item))
    return {name: total + folder_bytes(volumes[name]) for name, total in totals.items()}


def _volumes(item: Mapping[str, Any]) -> set[str]:
    """Folders of the volumes that a container sees; folders of the host are nobody's disk."""
    mounts = [one for one in item.get("Mounts") or [] if one.get("Type") == "volume"]
    # Secrets lie in memory.
    return {one["Source"] for one in mounts if not one.get("Name", "").endswith(f".{SECRETS}")}


def folder_bytes(folders: Iterable[str]) -> int:
    """Bytes on disk below some folders, looked for in ``MOST_STEPS`` steps at most.

    What is below two of them, or has two names, counts once.
    """
    with closing(_steps(folders)) as steps:
        return sum(islice(steps, MOST_STEPS))


def _steps(folders: Iterable[str]) -> Generator[int, None, None]:
    seen: set[tuple[int, int]] = set()
    for folder in sorted(folders):
        yield from _below(folder, seen)


def _below(top: str, seen: set[tuple[int, int]]) -> Iterator[int]:
    """What each step below ``top`` finds, in bytes."""
    ahead: list[tuple[str, ...]] = [()]
    while ahead:
        names = ahead.pop()
        yield from (0 for _ in names)
        # A program may remove at any time what is being looked at.
        with suppress(OSError), _opened(top, names) as here:
            if not _is_new(os.fstat(here), seen):
                continue
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        ahead.append((*names, entry.name))
                        yield 0
                    else:
                        yield _size(entry, seen)


@contextmanager
def _opened(top: str, names: tuple[str, ...]) -> Iterator[int]:
    """A folder below ``top``, name by name.

    A program may swap a folder for a link at any time: by its path it could lead over the host.
    """
    here = os.open(top, _FOLDER)
    try:
        for name in names:
            above, here = here, os.open(name, _FOLDER, dir_fd=here)
            os.close(above)
        yield here
    finally:
        os.close(here)


def _size(entry: os.DirEntry[str], seen: set[tuple[int, int]]) -> int:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return 0
    return found.st_blocks * BLOCK if found.st_nlink == 1 or _is_new(found, seen) else 0


def _is_new(found: os.stat_result, seen: set[tuple[int, int]]) -> bool:
    known = (found.st_dev, found.st_ino) in seen
    seen.add((found.st_dev, found.st_ino))
    return not known


def held_images(images: Iterable[Mapping[str, Any]], registry: str) -> list[str]:
    """Marks of a registry's images that lie here, of those that the Engine lists newest first.

    Names of other registries say nothing: a task's image is always named by the platform's own.
    """
    found: dict[str, None] = {}
    for image in images:
        for name in image.get("RepoDigests") or []:
            if name.startswith(f"{registry}/"):
                found[image_mark(name)] = None
    return sorted(list(found)[:MOST_IMAGES])


def with_size(body: dict[str, Any]) -> dict[str, Any]:
    """The request with the quota that its label names, for storage drivers that have quotas."""
    size = body.get("Labels", {}).get(DISK_LABEL)
    if size is None:
        return body
    return {**body, "HostConfig": {**body["HostConfig"], "StorageOpt": {"size": size}}}
