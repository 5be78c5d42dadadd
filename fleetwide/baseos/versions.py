"""Versions of OS releases: the day and a running number, ``20261122.1``."""

import re
from collections.abc import Iterable
from datetime import date


def next_version(existing: Iterable[str], day: date) -> str:
    """The first free ``YYYYMMDD.n`` of ``day`` after all that exist; other versions are ignored."""
    prefix = day.strftime("%Y%m%d")
    pattern = re.compile(rf"{prefix}\.([1-9][0-9]{{0,8}})")
    taken = [int(match[1]) for version in existing if (match := pattern.fullmatch(version))]
    return f"{prefix}.{max(taken, default=0) + 1}"
