"""OCI images as payload: fetch their layers, and flatten them into entries."""

import hashlib
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetwide.bakery.entries import Budget, checked_path, refused, refused_kind
from fleetwide.bakery.payload_layers import (
    PayloadLayer,
    check_config,
    config_digest,
    is_index,
    manifest_for,
    payload_layers,
)
from fleetwide.errors import ArtifactRejected, RegistryUnavailable
from fleetwide.models.bakery import Artifact
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.layers import KEPT_XATTRS, LayerEntry, walk
from fleetwide.providers.overlay import OPAQUE, WHITEOUT
from fleetwide.providers.progress import Progress, Throttled
from fleetwide.providers.tarballs import open_tar
from fleetwide.providers.unpacking import StagedTree
from fleetwide.registry.digests import PREFIX, hex_of
from fleetwide.registry.references import ImageReference

MANIFEST = "manifest.json"
XATTR_HEADER = "SCHILY.xattr."


def fetch_image(
    client: RegistryClient, artifact: Artifact, architecture: str, target: Path, progress: Progress
) -> None:
    """Bring the manifest and the layers of an image artifact into ``target``, a new folder.

    Its digest may be that of an index; then the manifest for ``architecture`` is taken.

    Raises:
        ImageNotFound: the registry does not have it.
        ArtifactRejected: it is no image, or too large.
        WrongArchitecture: it is built for other machines.
        RegistryUnavailable: the registry fails, or sends other bytes than were asked for.
    """
    assert artifact.repository is not None
    repository, name = artifact.repository, artifact.filename
    target.mkdir()
    try:
        manifest = _manifest(client, repository, PREFIX + artifact.sha256)
        if is_index(manifest.get("mediaType", ""), manifest):
            digest = manifest_for(manifest, name, architecture)
            manifest = _manifest(client, repository, digest)
        config = client.get_blob_json(repository, config_digest(manifest, name))
        check_config(config, name, architecture)
        told = Throttled(progress)
        for layer in payload_layers(manifest, name):
            told(f"fetching {name}", None)
            _fetch_layer(client, repository, layer, target / hex_of(layer.digest), told)
        (target / MANIFEST).write_text(json.dumps(manifest))
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _manifest(client: RegistryClient, repository: str, digest: str) -> dict[str, Any]:
    return client.get_manifest(ImageReference(repository, digest=digest)).json()


def _fetch_layer(
    client: RegistryClient, repository: str, layer: PayloadLayer, target: Path, progress: Progress
) -> None:
    seen, received = hashlib.sha256(), 0
    with client.stream_blob(repository, layer.digest) as pieces, target.open("wb") as writer:
        for piece in pieces:
            seen.update(piece)
            received += len(piece)
            writer.write(piece)
            progress("fetching a layer of the payload", min(received / max(layer.size, 1), 1.0))
            if received > layer.size:
                break
    if PREFIX + seen.hexdigest() != layer.digest:
        raise RegistryUnavailable(
            f"{repository}: the registry sent {received} bytes with the digest "
            f"{PREFIX}{seen.hexdigest()} for the {layer.size} bytes of {layer.digest}"
        )


@dataclass(frozen=True)
class _Looks:
    """What a tar says about one entry; the files on the builder's disk have none of it."""

    mode: int
    uid: int
    gid: int
    mtime: int


@dataclass
class _Flattened:
    """The tree that the layers make, one on top of the other."""

    name: str
    tree: StagedTree
    looks: dict[str, _Looks] = field(default_factory=dict)

    def remove(self, path: str, *, content_only: bool = False) -> None:
        """Take away what lower layers have at and below a path."""
        place = self.tree.root / path
        if _is_folder(place):
            for inner, _ in walk(place):
                self.looks.pop(f"{path}/{inner}".lstrip("/"), None)
            for one in list(place.iterdir()):
                _remove(one)
        if not content_only:
            self.looks.pop(path, None)
            _remove(place)


def image_entries(folder: Path, name: str, staging: Path, progress: Progress) -> list[LayerEntry]:
    """The files of a fetched image, at their paths and with their owners, modes and times.

    ``staging`` does not exist yet. Raises ``ArtifactRejected`` naming the entry for paths that
    leave the image, device nodes, and more entries or bytes than allowed.
    """
    staging.mkdir()
    flattened = _Flattened(name, StagedTree(staging, name))
    budget, told = Budget(name), Throttled(progress)
    manifest = json.loads((folder / MANIFEST).read_text())
    for layer in payload_layers(manifest, name):
        _apply(folder / hex_of(layer.digest), flattened, budget, told)
    if not flattened.looks:
        raise ArtifactRejected(f"{name} holds nothing")
    return list(_entries(flattened))


def _entries(flattened: _Flattened) -> Iterator[LayerEntry]:
    for path, found in walk(flattened.tree.root):
        looks = flattened.looks.get(path)
        if looks is None:
            # A folder that no layer lists, but that something lies in.
            looks = _Looks(stat.S_IFDIR | 0o755, 0, 0, 0)
        yield LayerEntry(path, Path(found.path), looks.mode, looks.uid, looks.gid, looks.mtime)


def _apply(layer: Path, flattened: _Flattened, budget: Budget, progress: Progress) -> None:
    """Lay one layer on top. Its deletions concern lower layers, never what it brings itself."""
    with open_tar(layer, flattened.name) as archive:
        for member in archive:
            progress(f"looking through {flattened.name}", None)
            budget.take(member.name, member.size if member.isreg() else 0)
            _apply_deletion(member.name, flattened)
    with open_tar(layer, flattened.name) as archive:
        for member in archive:
            if not member.name.rpartition("/")[2].startswith(WHITEOUT):
                path = checked_path(member.name, flattened.name)
                _add(archive, member, path, flattened, progress)


def _apply_deletion(name: str, flattened: _Flattened) -> None:
    folder, _, last = name.rpartition("/")
    if not last.startswith(WHITEOUT):
        return
    parent = checked_path(folder, flattened.name)
    if _passes_link(flattened.tree.root, parent):
        raise refused(flattened.name, name, "a path through a link")
    if last == OPAQUE:
        flattened.remove(parent, content_only=True)
        return
    hidden = checked_path(last.removeprefix(WHITEOUT), flattened.name)
    if hidden:
        flattened.remove(f"{parent}/{hidden}".lstrip("/"))


def _add(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    path: str,
    flattened: _Flattened,
    progress: Progress,
) -> None:
    if not path:
        return
    tree, place = flattened.tree, flattened.tree.root / path
    if os.path.lexists(place) and not (member.isdir() and _is_folder(place)):
        tree.place(path)  # refuses a way through a link
        flattened.remove(path)
    kind = stat.S_IFREG
    if member.isdir():
        kind = stat.S_IFDIR
        tree.folder(path)
    elif member.issym():
        kind = stat.S_IFLNK
        tree.link(path, _link_target(member, flattened.name))
    elif member.islnk():
        source = checked_path(member.linkname, flattened.name)
        tree.hard_link(path, source)
        flattened.looks[path] = flattened.looks[source]
        return
    elif member.isreg():
        content = archive.extractfile(member)
        assert content is not None
        _keep_attributes(member, tree.file(path, content, progress), flattened.name)
    else:
        raise refused_kind(flattened.name, member.name, "device node or pipe")
    mode = kind | (member.mode & 0o7777)
    flattened.looks[path] = _Looks(mode, member.uid, member.gid, max(int(member.mtime), 0))


def _link_target(member: tarfile.TarInfo, name: str) -> str:
    """Any target will do: the link is never followed here, and the container has its own root."""
    if not member.linkname or "\0" in member.linkname:
        raise refused(name, member.name, "a link to nowhere")
    return member.linkname


def _keep_attributes(member: tarfile.TarInfo, place: Path, archive: str) -> None:
    for attribute in KEPT_XATTRS:
        value = member.pax_headers.get(XATTR_HEADER + attribute)
        if value is not None:
            try:
                os.setxattr(place, attribute, value.encode(errors="surrogateescape"))
            except OSError as error:
                raise refused(archive, member.name, f"a {attribute} that is not valid") from error


def _passes_link(root: Path, path: str) -> bool:
    place = root
    for part in filter(None, path.split("/")):
        place /= part
        if place.is_symlink():
            return True
    return False


def _is_folder(place: Path) -> bool:
    return place.is_dir() and not place.is_symlink()


def _remove(place: Path) -> None:
    if _is_folder(place):
        shutil.rmtree(place)
    elif os.path.lexists(place):
        place.unlink()
