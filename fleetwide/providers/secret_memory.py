"""The values that attempts got, kept in this machine's memory for as long as their logs are read.

A value that is rotated at its source can still stand in the log of a container that got the old
one. The folder is tmpfs: nothing of it reaches a disk, and it ends with the boot, as containers do.
"""

import hashlib
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path

from fleetwide.providers.private_files import replace_private

MEMORY = Path("/dev/shm")  # noqa: S108 - only its owner reads what lies there
OWNER_ONLY = 0o700


class SecretMemory:
    """Of one host of one platform; where the machine has no such memory nothing is kept."""

    def __init__(self, platform: str, host_id: str, memory: Path = MEMORY) -> None:
        mark = hashlib.sha256(f"{platform}\0{host_id}".encode()).hexdigest()[:16]
        self._folder = memory / f"fleetwide-{mark}"
        self._there = memory.is_dir()

    def keep(self, attempt: str, values: Mapping[str, bytes]) -> None:
        """Remember the values of an attempt, by their names."""
        if self._there and values:
            self._folder.mkdir(mode=OWNER_ONLY, exist_ok=True)
            text = json.dumps({name: b64encode(one).decode() for name, one in values.items()})
            replace_private(self._folder / attempt, text.encode())

    def recall(self, attempt: str) -> dict[str, bytes]:
        """The values that the attempt got; empty when nobody remembers."""
        path = self._folder / attempt
        try:
            if path.stat().st_uid != os.geteuid():
                return {}
            found: dict[str, str] = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return {name: b64decode(one) for name, one in found.items()}

    def forget(self, attempt: str) -> None:
        (self._folder / attempt).unlink(missing_ok=True)
