"""Images, indexes and artifacts made up for tests: small, and never twice the same by chance."""

import gzip
import hashlib
import io
import json
import secrets
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def descriptor(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **more}


@dataclass(frozen=True)
class Manifest:
    """A manifest's bytes and what has to be pushed before it."""

    data: bytes
    media_type: str = MANIFEST
    blobs: Sequence[bytes] = ()
    children: Sequence["Manifest"] = field(default_factory=tuple)

    @property
    def digest(self) -> str:
        return digest_of(self.data)

    def descriptor(self, **more: Any) -> dict[str, Any]:
        return descriptor(self.data, self.media_type, **more)


def layer_of(files: Mapping[str, bytes]) -> tuple[bytes, str]:
    """A compressed layer, and the digest of its tar, which a config names."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))
    raw = buffer.getvalue()
    return gzip.compress(raw, 1, mtime=0), digest_of(raw)


def image(layers: int = 1, *, size: int = 64, **more: Any) -> Manifest:
    """An image that a container engine can load, of random files of ``size`` bytes."""
    made = [layer_of({f"file-{number}": secrets.token_bytes(size)}) for number in range(layers)]
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": [f"ONCE={secrets.token_hex(8)}"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in made]},
        }
    ).encode()
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(config, CONFIG),
        "layers": [descriptor(layer, LAYER) for layer, _ in made],
        **more,
    }
    return Manifest(json.dumps(document).encode(), blobs=(config, *(layer for layer, _ in made)))


def index(*children: Manifest, **more: Any) -> Manifest:
    """An index of ``children``."""
    document = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [child.descriptor() for child in children],
        "annotations": {"once": secrets.token_hex(8)},
        **more,
    }
    return Manifest(json.dumps(document).encode(), INDEX, children=children)


def artifact(
    artifact_type: str = "application/vnd.example.thing", *, layers: int = 1, **more: Any
) -> Manifest:
    """An artifact manifest with an empty config."""
    contents = [secrets.token_bytes(32) for _ in range(layers)] or [b"{}"]
    kind = "text/plain" if layers else EMPTY
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": artifact_type,
        "config": descriptor(b"{}", EMPTY),
        "layers": [descriptor(data, kind) for data in contents],
        "annotations": {"once": secrets.token_hex(8)},
        **more,
    }
    return Manifest(json.dumps(document).encode(), blobs=(b"{}", *contents))


def write_layout(folder: Path, made: Manifest, tag: str) -> None:
    """Lay an image out as a folder that clients read (an OCI image layout)."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for data in (*made.blobs, made.data):
        (blobs / digest_of(data).removeprefix("sha256:")).write_bytes(data)
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    entry = made.descriptor(annotations={"org.opencontainers.image.ref.name": tag})
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    (folder / "index.json").write_text(json.dumps(document))
