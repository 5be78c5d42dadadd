"""Images of a state folder from before the registry had an index."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

REPOSITORIES = "registry/docker/registry/v2/repositories"


def unindexed(state: Path) -> list[str]:
    """Repositories with tags at Distribution that the index does not know, in order."""
    return sorted(set(_stored(state / REPOSITORIES)) - _indexed(state / "fleetwide.db"))


def _stored(root: Path) -> Iterator[str]:
    for tags in root.rglob("_manifests/tags"):
        if next(tags.iterdir(), None) is not None:
            yield str(tags.parents[1].relative_to(root))


def _indexed(database: Path) -> set[str]:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as opened:
            return {row[0] for row in opened.execute("SELECT name FROM registry_repository")}
    except sqlite3.OperationalError:
        return set()  # there is no such file or table yet
