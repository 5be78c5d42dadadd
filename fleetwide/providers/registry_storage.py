"""Docker Distribution's storage from beside it: what its API can neither list nor remove.

Distribution keeps bytes under their digest and, in each repository, small files that link to
them. It has no descriptor cache here, so it sees at once what is changed behind it.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fleetwide.errors import InvalidInput
from fleetwide.providers.registry_trees import Entry, FolderTree, S3Tree, Tree
from fleetwide.registry.digests import PREFIX, hex_of
from fleetwide.registry.names import check_repository, check_tag, is_digest
from fleetwide.settings import Settings

ROOT = "docker/registry/v2"
REPOSITORIES = f"{ROOT}/repositories"
BLOBS = f"{ROOT}/blobs/sha256"
PREFIXES = tuple(f"{number:02x}" for number in range(256))
"""The parts that the blobs of a storage are listed by."""
PARTS = ("_layers", "_manifests", "_uploads")
BROKEN = "fleetwide-broken"
"""Where bytes go that are not those of their digest: out of sight, but not lost."""
MAX_LINK_BYTES = 200
SLEEP_SECONDS = 1.0

Heard = Callable[[], None]


def unheard() -> None:
    """For whoever need not be told that a listing goes on."""


@dataclass(frozen=True)
class StoredBlob:
    """The bytes of a layer, a config or a manifest."""

    digest: str
    size: int
    modified_at: datetime


@dataclass(frozen=True)
class StoredTag:
    """What a tag means at Distribution, and since when."""

    name: str
    digest: str
    modified_at: datetime


@dataclass(frozen=True)
class StoredUpload:
    """An upload that was begun and neither ended nor cancelled."""

    repository: str
    id: str
    touched_at: datetime


class RegistryStorage:
    """Distribution's storage.

    Every method raises ``ObjectStoreUnavailable`` when it does not answer; what is not there
    counts as removed. ``heard`` is called while names are listed that have to be sorted first: a
    bucket gives a thousand a request.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def repositories(self, after: str = "", heard: Heard = unheard) -> Iterator[str]:
        """Names of repositories, folder by folder, from behind ``after`` on.

        The order is that of the paths' parts, which is not that of the names as text.
        """
        yield from self._walk((), tuple(after.split("/")) if after else (), heard)

    def _walk(self, at: tuple[str, ...], after: tuple[str, ...], heard: Heard) -> Iterator[str]:
        names = self._folders("/".join((REPOSITORIES, *at)), heard)
        if at > after and any(part in names for part in PARTS) and _is_name("/".join(at)):
            yield "/".join(at)
        for name in names:
            child = (*at, name)
            if not name.startswith("_") and child >= after[: len(child)]:
                yield from self._walk(child, after, heard)

    def _folders(self, path: str, heard: Heard) -> list[str]:
        found = []
        for name in self._tree.folders(path):
            found.append(name)
            heard()
        return sorted(found)

    def layers(self, repository: str, after: str = "") -> Iterator[str]:
        """Digests of the blobs that Distribution serves in a repository, from behind ``after``."""
        yield from self._linked(f"{_folder(repository)}/_layers/sha256", after)

    def revisions(self, repository: str, after: str = "") -> Iterator[str]:
        """Digests of the manifests that Distribution serves in a repository, with their bytes."""
        for digest in self._linked(f"{_folder(repository)}/_manifests/revisions/sha256", after):
            if self.blob(digest) is not None:
                yield digest

    def _linked(self, folder: str, after: str) -> Iterator[str]:
        """A deleted link leaves its folder behind, so files are listed."""
        for digest, file, _ in self._of_digests(folder, after and f"{hex_of(after)}/link"):
            if file == "link":
                yield digest

    def _of_digests(self, folder: str, after: str) -> Iterator[tuple[str, str, Entry]]:
        for path, entry in self._tree.files(folder, after):
            name, _, file = path.partition("/")
            if is_digest(PREFIX + name):
                yield PREFIX + name, file, entry

    def tags(self, repository: str, after: str = "", heard: Heard = unheard) -> Iterator[StoredTag]:
        """What tags mean at Distribution, by name from behind ``after``."""
        for name in self._folders(f"{_folder(repository)}/_manifests/tags", heard):
            found = self.tag(repository, name) if name > after else None
            if found is not None:
                yield found

    def tag(self, repository: str, name: str) -> StoredTag | None:
        """What a tag means; None also where the link is no digest."""
        if not _is_tag(name):
            return None
        path = f"{_tag_folder(repository, name)}/current/link"
        entry, data = self._tree.stat(path), self._read(path)
        digest = data.decode("ascii", "replace").strip() if data else ""
        if entry is None or not is_digest(digest):
            return None
        return StoredTag(name, digest, entry.modified_at)

    def blobs(self, prefix: str) -> Iterator[StoredBlob]:
        """All bytes whose digest begins with the two digits of ``prefix``."""
        for digest, file, entry in self._of_digests(f"{BLOBS}/{prefix}", ""):
            if file == "data":
                yield StoredBlob(digest, entry.size, entry.modified_at)

    def blob(self, digest: str) -> Entry | None:
        """Size and age of a digest's bytes; None where there are none."""
        return self._tree.stat(_data(digest))

    def has_layer(self, repository: str, digest: str) -> bool:
        return self._tree.stat(_layer(repository, digest)) is not None

    def revision(self, repository: str, digest: str) -> Entry | None:
        """The link of a manifest; its age is that of the last push."""
        return self._tree.stat(_revision(repository, digest))

    def read_blob(self, digest: str) -> Iterator[bytes] | None:
        """The bytes in pieces; the caller checks them against the digest."""
        return self._tree.stream(_data(digest))

    def put_blob(self, digest: str, chunks: Iterable[bytes]) -> bool:
        """Put a digest's bytes in place, if they are its bytes; whether they were."""
        try:
            self._tree.write(_data(digest), _checked(digest, chunks))
        except _OtherBytes:
            return False
        return True

    def put_manifest(self, repository: str, digest: str, data: bytes) -> None:
        """Let Distribution serve a manifest, as it does itself: the bytes first, then the link."""
        if self.blob(digest) is None:
            self._tree.write(_data(digest), [data])
        self._tree.write(_revision(repository, digest), [digest.encode()])

    def put_tag(self, repository: str, name: str, digest: str) -> None:
        """Let a tag mean a manifest at Distribution."""
        folder = _tag_folder(repository, name)
        link = [digest.encode()]
        self._tree.write(f"{folder}/index/sha256/{_checked_hex(digest)}/link", link)
        self._tree.write(f"{folder}/current/link", link)

    def link_layer(self, repository: str, digest: str) -> None:
        """Let Distribution serve the blob in a repository."""
        self._tree.write(_layer(repository, digest), [digest.encode()])

    def unlink_layer(self, repository: str, digest: str) -> None:
        self._remove_link(_layer(repository, digest))

    def unlink_revision(self, repository: str, digest: str) -> None:
        """Let Distribution no longer serve the manifest; takes as long with any number of tags."""
        self._remove_link(_revision(repository, digest))

    def unlink_tag(self, repository: str, name: str) -> None:
        # The link goes first: what a kill leaves of the folder means nothing to Distribution.
        folder = _tag_folder(repository, name)
        self._tree.remove(f"{folder}/current/link")
        self._tree.remove_folder(folder)

    def remove_blob(self, digest: str) -> None:
        self._tree.remove(_data(digest))
        self._tree.remove_empty(f"{BLOBS}/{hex_of(digest)[:2]}/{hex_of(digest)}")

    def keep_aside(self, digest: str) -> None:
        """Have wrong bytes out of Distribution's sight too, before they are removed.

        As long as some lie in their place, Distribution drops what is uploaded under the digest.
        """
        if self.blob(digest) is not None:
            self._tree.copy(_data(digest), f"{BROKEN}/{hex_of(digest)}")

    def uploads(self, repository: str) -> Iterator[StoredUpload]:
        for name in sorted(self._tree.folders(f"{_folder(repository)}/_uploads")):
            folder = f"{_folder(repository)}/_uploads/{name}"
            known = [self._tree.stat(f"{folder}/{file}") for file in ("startedat", "data")]
            times = [one.modified_at for one in known if one is not None]
            # Without files yet it begins at this moment; what stays so is no byte on the disk.
            yield StoredUpload(repository, name, max(times, default=datetime.now(UTC)))

    def remove_upload(self, upload: StoredUpload) -> None:
        """Remove an upload; after a write to a full disk Distribution holds its file open."""
        folder = f"{_folder(upload.repository)}/_uploads/{upload.id}"
        self._tree.discard(f"{folder}/data")
        self._tree.remove_folder(folder)

    def is_empty(self, repository: str) -> bool:
        """Whether a repository has no file any more."""
        parts = (f"{_folder(repository)}/{part}" for part in PARTS)
        return all(next(self._tree.files(part), None) is None for part in parts)

    def remove_if_empty(self, repository: str) -> bool:
        """Remove the folders of a repository that has no file any more; whether they are gone."""
        folder = _folder(repository)
        gone = [self._tree.remove_empty(f"{folder}/{part}") for part in PARTS]
        return all(gone) and self._tree.remove_empty(folder)

    def remove_repository(self, repository: str) -> None:
        """Remove all links of a repository; the bytes stay until they are collected."""
        for part in PARTS:
            self._tree.remove_folder(f"{_folder(repository)}/{part}")
        self._tree.remove_empty(_folder(repository))

    def _remove_link(self, path: str) -> None:
        self._tree.remove(path)
        self._tree.remove_empty(path.removesuffix("/link"))

    def _read(self, path: str) -> bytes | None:
        chunks = self._tree.stream(path)
        return None if chunks is None else b"".join(chunks)[:MAX_LINK_BYTES]


def hash_blob(chunks: Iterable[bytes], bytes_per_second: float, told: Callable[[int], None]) -> str:
    """The digest of ``chunks``, read no faster than allowed; ``told`` hears of the bytes so far."""
    found, size, began = hashlib.sha256(), 0, time.monotonic()
    for chunk in chunks:
        found.update(chunk)
        size += len(chunk)
        told(size)
        while (left := size / bytes_per_second - (time.monotonic() - began)) > 0:
            time.sleep(min(left, SLEEP_SECONDS))
            told(size)
    return PREFIX + found.hexdigest()


class _OtherBytes(Exception):
    """What came is not what the digest names."""


def _checked(digest: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    found = hashlib.sha256()
    for chunk in chunks:
        found.update(chunk)
        yield chunk
    if PREFIX + found.hexdigest() != digest:
        raise _OtherBytes


def _is_name(name: str) -> bool:
    try:
        check_repository(name)
    except InvalidInput:
        return False
    return True


def _is_tag(name: str) -> bool:
    try:
        check_tag(name)
    except InvalidInput:
        return False
    return True


def _folder(repository: str) -> str:
    check_repository(repository)
    return f"{REPOSITORIES}/{repository}"


def _tag_folder(repository: str, name: str) -> str:
    check_tag(name)
    return f"{_folder(repository)}/_manifests/tags/{name}"


def _layer(repository: str, digest: str) -> str:
    return f"{_folder(repository)}/_layers/sha256/{_checked_hex(digest)}/link"


def _revision(repository: str, digest: str) -> str:
    return f"{_folder(repository)}/_manifests/revisions/sha256/{_checked_hex(digest)}/link"


def _data(digest: str) -> str:
    name = _checked_hex(digest)
    return f"{BLOBS}/{name[:2]}/{name}/data"


def _checked_hex(digest: str) -> str:
    if not is_digest(digest):
        raise InvalidInput.for_field("digest", "must be sha256:<64 hex digits>", given=digest)
    return hex_of(digest)


def open_registry_storage(settings: Settings) -> RegistryStorage:
    """The storage that ``Settings.registry_storage`` names.

    Raises:
        InvalidInput: the setting names neither a folder nor a bucket.
    """
    url = urlsplit(settings.registry_storage)
    if url.scheme == "file" and not url.netloc and url.path:
        return RegistryStorage(FolderTree(Path(unquote(url.path))))
    if url.scheme == "s3" and url.netloc:
        from fleetwide.providers.objects_s3 import s3_client  # noqa: PLC0415

        return RegistryStorage(S3Tree(s3_client(settings), url.netloc, url.path))
    raise InvalidInput.for_field(
        "registry_storage",
        "must be file:<folder> or s3://<bucket>/<prefix>, as in Distribution's configuration",
        given=settings.registry_storage,
    )
