"""Files by relative path, in a folder or under a prefix of a bucket: what Distribution writes to.

Paths are relative POSIX paths. A file that is not there counts as removed, and is read as None.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fleetwide.errors import ObjectStoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHUNK_BYTES = 1024 * 1024
TRIES = 100


@dataclass(frozen=True)
class Entry:
    """A file: its bytes, and when they were last written."""

    size: int
    modified_at: datetime


class Tree(Protocol):
    """Every method raises ``ObjectStoreUnavailable`` when the storage does not answer."""

    def folders(self, path: str) -> Iterator[str]:
        """Names of the folders in a folder, in whatever order, as they are found."""
        ...

    def files(self, path: str, after: str = "") -> Iterator[tuple[str, Entry]]:
        """All files below a folder, by their paths in it, from behind ``after``, as they are found.

        They come in the order of their paths as text.
        """
        ...

    def stat(self, path: str) -> Entry | None: ...

    def stream(self, path: str) -> Iterator[bytes] | None:
        """The bytes of a file in pieces; they are read as they are asked for."""
        ...

    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        """Put a file in place at once; an error of ``chunks`` leaves nothing behind."""
        ...

    def copy(self, path: str, target: str) -> None:
        """Have the bytes of a file in another place too; they are not read for it."""
        ...

    def remove(self, path: str) -> None: ...

    def discard(self, path: str) -> None:
        """Remove a file and free its bytes, also when somebody has it open still."""
        ...

    def remove_folder(self, path: str) -> None:
        """Remove a folder with all that is in it."""
        ...

    def remove_empty(self, path: str) -> bool:
        """Remove a folder and its folders, unless there is a file; whether it is gone."""
        ...


class FolderTree:
    """A ``Tree`` in a local folder."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    def folders(self, path: str) -> Iterator[str]:
        return (name for name, is_folder in self._listed(path) if is_folder)

    def files(self, path: str, after: str = "") -> Iterator[tuple[str, Entry]]:
        # A folder stands where its files do: by its name with a slash.
        names = sorted(f"{name}/" if is_folder else name for name, is_folder in self._listed(path))
        for name in names:
            if not name.endswith("/"):
                if name > after and (entry := self.stat(f"{path}/{name}")):
                    yield name, entry
            elif name >= after[: len(name)]:
                behind = after[len(name) :] if after.startswith(name) else ""
                for inner, entry in self.files(f"{path}/{name[:-1]}", behind):
                    yield name + inner, entry

    def _listed(self, path: str) -> list[tuple[str, bool]]:
        """Names in a folder, each with whether it is a folder."""
        with self._translated(path):
            try:
                with os.scandir(self._root / path) as found:
                    return [(one.name, one.is_dir(follow_symlinks=False)) for one in found]
            except (FileNotFoundError, NotADirectoryError):
                return []

    def stat(self, path: str) -> Entry | None:
        with self._translated(path):
            try:
                known = (self._root / path).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            return Entry(known.st_size, datetime.fromtimestamp(known.st_mtime, UTC))

    def stream(self, path: str) -> Iterator[bytes] | None:
        with self._translated(path):
            try:
                file = (self._root / path).open("rb")
            except (FileNotFoundError, NotADirectoryError):
                return None
        return self._pieces(path, file)

    def _pieces(self, path: str, file: "Readable") -> Iterator[bytes]:
        with self._translated(path), closing(file):
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        target = self._root / path
        with self._translated(path):
            descriptor, name = _new_beside(target)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.writelines(chunks)
                Path(name).chmod(0o644)  # whoever serves the storage may be another user
                Path(name).replace(target)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise

    def copy(self, path: str, target: str) -> None:
        place = self._root / target
        with self._translated(path):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            place.hardlink_to(self._root / path)

    def remove(self, path: str) -> None:
        with self._translated(path):
            try:
                (self._root / path).unlink(missing_ok=True)
            except NotADirectoryError:
                return

    def discard(self, path: str) -> None:
        # As long as it is open, its bytes would stay on the disk without a name. The file may be
        # another user's, who lets us remove it but not write to it: then they do stay.
        with suppress(OSError):
            os.close(os.open(self._root / path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW))
        self.remove(path)

    def remove_folder(self, path: str) -> None:
        with self._translated(path):
            try:
                shutil.rmtree(self._root / path)
            except (FileNotFoundError, NotADirectoryError):
                return

    def remove_empty(self, path: str) -> bool:
        with self._translated(path):
            for folder, _, _ in os.walk(self._root / path, topdown=False):
                try:
                    Path(folder).rmdir()
                except FileNotFoundError:
                    continue
                except OSError:  # not empty: somebody has just written to it
                    return False
        return True

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ObjectStoreUnavailable(
                f"the registry's storage did not take {path!r}: {error.strerror}",
                hint=f"df -h {self._root}; ls -ld {self._root}",
            ) from error


def _new_beside(target: Path) -> tuple[int, str]:
    """A new file in the folder of ``target``: its descriptor, and its path."""
    tries = 0
    while True:
        tries += 1
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            return tempfile.mkstemp(dir=target.parent, prefix=".new-")
        except (FileNotFoundError, FileExistsError):
            # Somebody may remove the folder, as an empty one, before there is a file in it.
            if tries == TRIES:
                raise


class Readable(Protocol):
    """A file that is open for reading."""

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


class S3Tree:
    """A ``Tree`` under a prefix of a bucket; safe to share between threads."""

    def __init__(self, client: "S3Client", bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def folders(self, path: str) -> Iterator[str]:
        full = self._folder(path)
        with self._translated(path):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=full, Delimiter="/"
            )
            for page in pages:
                for one in page.get("CommonPrefixes", []):
                    yield one.get("Prefix", "").removeprefix(full).rstrip("/")

    def files(self, path: str, after: str = "") -> Iterator[tuple[str, Entry]]:
        """A thousand a request, with all that is asked of each."""
        full = self._folder(path)
        with self._translated(path):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=full, StartAfter=full + after
            )
            for page in pages:
                for one in page.get("Contents", []):
                    assert "LastModified" in one
                    name = one.get("Key", "").removeprefix(full)
                    yield name, Entry(one.get("Size", 0), one["LastModified"])

    def _folder(self, path: str) -> str:
        return f"{self._prefix}{path.rstrip('/')}/" if path else self._prefix

    def stat(self, path: str) -> Entry | None:
        with self._translated(path):
            found = self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=self._prefix + path, MaxKeys=1
            )
            for one in found.get("Contents", []):
                if one.get("Key") == self._prefix + path:
                    assert "LastModified" in one
                    return Entry(one.get("Size", 0), one["LastModified"])
        return None

    def stream(self, path: str) -> Iterator[bytes] | None:
        if self.stat(path) is None:
            return None
        return self._pieces(path)

    def _pieces(self, path: str) -> Iterator[bytes]:
        with self._translated(path):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + path)
            with closing(answer["Body"]) as body:
                yield from body.iter_chunks(CHUNK_BYTES)

    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        with tempfile.TemporaryFile() as spooled:
            spooled.writelines(chunks)
            spooled.seek(0)
            with self._translated(path):
                self._client.upload_fileobj(spooled, self._bucket, self._prefix + path)

    def copy(self, path: str, target: str) -> None:
        with self._translated(path):
            source: dict[str, str] = {"Bucket": self._bucket, "Key": self._prefix + path}
            # Copies in parts where the object is larger than one copy may be.
            self._client.copy(source, self._bucket, self._prefix + target)  # type: ignore[arg-type]

    def remove(self, path: str) -> None:
        with self._translated(path):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + path)

    def discard(self, path: str) -> None:
        """Nobody holds an object open."""
        self.remove(path)

    def remove_folder(self, path: str) -> None:
        with self._translated(path):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{self._prefix}{path.rstrip('/')}/"
            )
            for page in pages:
                for one in page.get("Contents", []):
                    self._client.delete_object(Bucket=self._bucket, Key=one.get("Key", ""))

    def remove_empty(self, path: str) -> bool:
        """A bucket has no empty folders: it is gone when there is no object."""
        with self._translated(path):
            found = self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=f"{self._prefix}{path.rstrip('/')}/", MaxKeys=1
            )
        return not found.get("Contents")

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        # boto3 takes a quarter of a second to import; processes with a folder go without.
        from boto3.exceptions import Boto3Error  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            raise self._unavailable(path, code) from error
        except (BotoCoreError, Boto3Error) as error:
            raise self._unavailable(path, type(error).__name__) from error

    def _unavailable(self, path: str, why: str) -> ObjectStoreUnavailable:
        return ObjectStoreUnavailable(
            f"the registry's bucket {self._bucket} did not serve {path!r}: {why}",
            hint=f"aws s3 ls s3://{self._bucket}/",
        )
