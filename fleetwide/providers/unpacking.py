"""Write the entries of a stranger's archive below a folder, and nowhere else."""

import io
import os
import stat
from pathlib import Path
from typing import IO, BinaryIO

from fleetwide.bakery.entries import refused
from fleetwide.errors import ArtifactRejected
from fleetwide.providers.progress import Progress

PIECE_BYTES = 1024 * 1024


class BoundedReader(io.RawIOBase):
    """A reader that refuses to return a huge piece at once: no header may fill the memory."""

    def __init__(self, inner: BinaryIO, archive: str, limit: int) -> None:
        self._inner = inner
        self._archive = archive
        self._limit = limit

    def read(self, size: int = -1) -> bytes:
        data = (
            b"" if size > self._limit else self._inner.read(size if size >= 0 else self._limit + 1)
        )
        if max(size, len(data)) > self._limit:
            raise ArtifactRejected(
                f"{self._archive}: one of its headers has more than {self._limit} bytes"
            )
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and offset < 0:
            raise ArtifactRejected(f"{self._archive}: one of its headers names a place before it")
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def seekable(self) -> bool:
        return self._inner.seekable()


class StagedTree:
    """A folder that entries are put into by their paths, which are checked already.

    Links are never followed while writing, so that nothing lands outside. ``archive`` is what
    people call the file, for the messages of ``ArtifactRejected``.
    """

    def __init__(self, root: Path, archive: str) -> None:
        self.root = root
        self.archive = archive

    def place(self, path: str) -> Path:
        """Where ``path`` goes: its parents are made and are no links, an old link is gone."""
        target = self._inside(path)
        if target.is_symlink():
            target.unlink()
        return target

    def _inside(self, path: str) -> Path:
        """The same, but whatever has the name already stays."""
        parent, _, last = path.rpartition("/")
        folder = str(self.root)
        for part in parent.split("/") if parent else []:
            folder = f"{folder}/{part}"
            try:
                mode = os.lstat(folder).st_mode
            except FileNotFoundError:
                os.mkdir(folder)  # noqa: PTH102 - a Path for each step takes twice the time
                continue
            if not stat.S_ISDIR(mode):
                raise ArtifactRejected(
                    f"{self.archive}: entry {path!r} passes through {part!r}, which is no folder"
                )
        return Path(folder, last)

    def folder(self, path: str) -> None:
        target = self.place(path)
        if target.exists() and not target.is_dir():
            raise refused(self.archive, path, "the name of a file before it")
        target.mkdir(exist_ok=True)

    def create(self, path: str) -> BinaryIO:
        """A new regular file for writing; it has no particular mode yet."""
        target = self._inside(path)
        try:
            return target.open("xb")
        except FileExistsError:
            return self._free(path).open("xb")

    def file(self, path: str, content: IO[bytes], progress: Progress) -> Path:
        """Write a regular file; answers its place, where it has no particular mode yet."""
        with self.create(path) as writer:
            while piece := content.read(PIECE_BYTES):
                writer.write(piece)
                progress(f"unpacking {self.archive}", None)
        return self.root / path

    def link(self, path: str, target: str) -> None:
        self._free(path).symlink_to(target)

    def hard_link(self, path: str, source: str) -> None:
        """One more name for a file that was written before."""
        existing = self.place(source)
        if not stat.S_ISREG(existing.lstat().st_mode if existing.exists() else 0):
            raise refused(
                self.archive, path, f"a hard link to {source!r}, which is no file before it"
            )
        target = self._free(path)
        if not os.path.lexists(existing):
            raise refused(self.archive, path, "a hard link to itself")
        os.link(existing, target)

    def _free(self, path: str) -> Path:
        target = self.place(path)
        if target.is_dir():
            raise refused(self.archive, path, "the name of a folder before it")
        target.unlink(missing_ok=True)
        return target

    def check_links(self) -> None:
        """Refuse links that leave the tree by way of other links."""
        real = os.path.realpath(self.root)
        for folder, folders, files in os.walk(self.root):
            for entry in (*folders, *files):
                path = Path(folder, entry)
                if not path.is_symlink():
                    continue
                reached = os.path.realpath(path)
                if reached != real and not reached.startswith(f"{real}/"):
                    raise ArtifactRejected(
                        f"{self.archive}: entry {str(path.relative_to(self.root))!r} "
                        "is a link that leaves the tree"
                    )
