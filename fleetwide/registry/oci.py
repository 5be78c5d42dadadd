"""OCI image configs and manifests as canonical bytes.

No wall clock enters: every time in a document is the source date epoch, so the same inputs always
give the same digests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fleetwide.models.bakery import HealthCheck
from fleetwide.models.base import Layer
from fleetwide.registry.digests import canonical_json, digest_of

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST_TYPE = "application/vnd.docker.distribution.manifest.list.v2+json"
# Distribution 2.8 tries to convert a manifest to Docker's first schema when a client names no type.
ACCEPTED_TYPES = (MANIFEST_TYPE, INDEX_TYPE, DOCKER_MANIFEST_TYPE, DOCKER_LIST_TYPE)

NANOSECONDS = 1_000_000_000
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class HistoryStep:
    """One line in ``docker history``, of a layer or of a mere change of the config."""

    created_by: str
    comment: str = ""
    has_layer: bool = True


@dataclass(frozen=True)
class RunConfig:
    """How a container of the image starts when nobody says otherwise."""

    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    user: str = ""
    workdir: str = "/"
    ports: Sequence[int] = ()
    volumes: Sequence[str] = ()
    healthcheck: HealthCheck | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageParts:
    """All that an image document says. ``layers`` and ``history`` run from the base upwards."""

    architecture: str
    epoch: int
    layers: Sequence[Layer]
    history: Sequence[HistoryStep]
    run: RunConfig
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageDocuments:
    """The bytes to push for an image, and the digests that name them."""

    config: bytes
    manifest: bytes
    layers: Sequence[Layer]

    @property
    def config_digest(self) -> str:
        return digest_of(self.config)

    @property
    def digest(self) -> str:
        """The image's own digest: that of its manifest."""
        return digest_of(self.manifest)

    @property
    def size(self) -> int:
        """Compressed bytes of all layers."""
        return sum(layer.size for layer in self.layers)


def rfc3339(epoch: int) -> str:
    """``epoch`` as OCI writes times: 2026-11-22T00:00:00Z."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def build_image(parts: ImageParts) -> ImageDocuments:
    """The config and manifest of ``parts``; equal parts give equal bytes."""
    config = canonical_json(_config(parts))
    return ImageDocuments(config, canonical_json(_manifest(parts, config)), tuple(parts.layers))


def _config(parts: ImageParts) -> dict[str, Any]:
    created = rfc3339(parts.epoch)
    return {
        "architecture": parts.architecture,
        "os": "linux",
        **({"variant": "v8"} if parts.architecture == "arm64" else {}),
        "created": created,
        "config": _run_section(parts.run),
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in parts.layers]},
        "history": [_history_line(step, created) for step in parts.history],
    }


def _history_line(step: HistoryStep, created: str) -> dict[str, Any]:
    line: dict[str, Any] = {"created": created, "created_by": step.created_by}
    if step.comment:
        line["comment"] = step.comment
    if not step.has_layer:
        line["empty_layer"] = True
    return line


def _run_section(run: RunConfig) -> dict[str, Any]:
    env = {"PATH": DEFAULT_PATH, **run.env}
    section: dict[str, Any] = {
        "Env": [f"{name}={env[name]}" for name in sorted(env)],
        "Entrypoint": list(run.entrypoint),
        "Cmd": list(run.command),
        "User": run.user,
        "WorkingDir": run.workdir,
        "ExposedPorts": {f"{port}/tcp": {} for port in run.ports},
        "Volumes": {path: {} for path in run.volumes},
        "Healthcheck": _healthcheck(run.healthcheck) if run.healthcheck else None,
        "Labels": dict(run.labels),
    }
    return {key: value for key, value in section.items() if value}


def _healthcheck(check: HealthCheck) -> dict[str, Any]:
    """Docker's extension of the OCI config; its times are in nanoseconds."""
    return {
        "Test": ["CMD", *check.command],
        "Interval": round(check.interval_seconds * NANOSECONDS),
        "Timeout": round(check.timeout_seconds * NANOSECONDS),
        "StartPeriod": round(check.start_period_seconds * NANOSECONDS),
        "Retries": check.retries,
    }


def _manifest(parts: ImageParts, config: bytes) -> dict[str, Any]:
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor(CONFIG_TYPE, digest_of(config), len(config)),
        "layers": [_descriptor(LAYER_TYPE, one.digest, one.size) for one in parts.layers],
    }
    if parts.annotations:
        document["annotations"] = dict(parts.annotations)
    return document


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}
