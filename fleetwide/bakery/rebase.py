"""Which layers may move to another base as they are: those that touch nothing of the base's own."""

import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

PLAIN_FOLDER = stat.S_IFDIR | 0o755
SHARED_FOLDERS = frozenset({"opt", "usr", "usr/local"})
"""Parents of an application's folders; every base has them, root's, with mode 755."""


class LayerPath(Protocol):
    """One entry of a layer; one without a source deletes something of the layers below."""

    @property
    def path(self) -> str: ...

    @property
    def source(self) -> Path | None: ...

    @property
    def mode(self) -> int: ...

    @property
    def uid(self) -> int: ...

    @property
    def gid(self) -> int: ...


def is_rebaseable(entries: Iterable[LayerPath], name: str) -> bool:
    """Whether a layer of the application ``name`` lies in ``/opt/<name>`` and ``/usr/local`` alone.

    The folders above may stand in it as every base has them.
    """
    return all(is_app_path(entry.path, name) or _is_unchanged(entry) for entry in entries)


def is_app_path(path: str, name: str) -> bool:
    """Whether a path (relative) belongs to the application ``name`` and to no package."""
    return path == f"opt/{name}" or path.startswith((f"opt/{name}/", "usr/local/"))


def _is_unchanged(entry: LayerPath) -> bool:
    described = (entry.mode, entry.uid, entry.gid)
    is_plain = entry.source is not None and described == (PLAIN_FOLDER, 0, 0)
    return is_plain and entry.path in SHARED_FOLDERS
