"""What of an upload has arrived, on disk, so that a crash costs only the blocks under way.

EBS does not tell which blocks a pending snapshot holds. The journal does: its first line says
which upload it belongs to and holds the token of StartSnapshot, the second the snapshot's id, the
following ones the index of a block that arrived each, and the last one that EBS took the seal. A
line without its end is forgotten.
"""

import json
import os
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class SnapshotJournal:
    """The journal of one upload; opens the file of an earlier attempt, or starts one anew."""

    def __init__(self, path: Path, upload_key: str) -> None:
        self._path = path
        self._key = upload_key
        self.token = ""
        self.snapshot_id: str | None = None
        self.sealed = False
        self.arrived: set[int] = set()
        self._adopt(_lines(path))
        self._file = path.open("ab")
        if not self.token:
            self.restart()

    def _adopt(self, lines: list[Any]) -> None:
        head = lines[0] if lines and isinstance(lines[0], dict) else {}
        if head.get("upload") != self._key:
            return
        self.token = head["token"]
        for line in lines[1:]:
            if isinstance(line, int):
                self.arrived.add(line)
            elif "snapshot" in line:
                self.snapshot_id = line["snapshot"]
            else:
                self.sealed = True

    def restart(self) -> None:
        """Forget the snapshot and take a new token; the old one would name the old snapshot."""
        self._file.truncate(0)
        self.token, self.snapshot_id = str(uuid.uuid4()), None
        self.sealed, self.arrived = False, set()
        self._write({"upload": self._key, "token": self.token})
        os.fsync(self._file.fileno())

    def started(self, snapshot_id: str) -> None:
        self.snapshot_id = snapshot_id
        self._write({"snapshot": snapshot_id})
        os.fsync(self._file.fileno())

    def note(self, indexes: Iterable[int]) -> None:
        """Remember blocks that arrived. A lost line costs sending the block again, no more."""
        fresh = list(indexes)
        self.arrived.update(fresh)
        self._write(*fresh)

    def seal(self) -> None:
        """Remember that EBS accepted CompleteSnapshot."""
        self.sealed = True
        self._write({"sealed": True})

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)

    def _write(self, *lines: Any) -> None:
        self._file.write("".join(f"{json.dumps(line)}\n" for line in lines).encode())
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def journalled_snapshot(path: Path) -> str | None:
    """The snapshot that the journal at ``path`` is about; None when it names none."""
    heads = (line for line in _lines(path) if isinstance(line, dict))
    return next((line["snapshot"] for line in heads if "snapshot" in line), None)


def _lines(path: Path) -> list[Any]:
    """The complete lines of the file; the rest of a torn one is cut off for the next writer."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    parsed = []
    for line in whole.splitlines():
        with suppress(ValueError):  # a power cut may leave zeros where a line was
            parsed.append(json.loads(line))
    return parsed
