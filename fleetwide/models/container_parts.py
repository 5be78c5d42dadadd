"""Whether the parts of a container's spec fit together: volumes, others, secrets, checks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from fleetwide.models.extra_containers import MAIN, ExtraContainer
from fleetwide.models.health import ContainerHealth
from fleetwide.models.isolation import Security
from fleetwide.models.resources import Resources
from fleetwide.models.secrets import SecretUse
from fleetwide.models.volumes import Mount, Volume, VolumeKind, lies_in


class Parts(Protocol):
    """What of a container's spec is looked at here."""

    @property
    def env(self) -> Mapping[str, str]: ...
    @property
    def resources(self) -> Resources: ...
    @property
    def security(self) -> Security: ...
    @property
    def volumes(self) -> Sequence[Volume]: ...
    @property
    def mounts(self) -> Sequence[Mount]: ...
    @property
    def health(self) -> ContainerHealth | None: ...
    @property
    def secrets(self) -> Mapping[str, SecretUse]: ...
    @property
    def extra_containers(self) -> Sequence[ExtraContainer]: ...


def check_parts(spec: Parts, *, has_network: bool) -> None:
    """Raise ``ValueError`` for the first contradiction; the message names the field."""
    _check_names(spec)
    for where, mounts, security in _mounting(spec):
        _check_mounts(where, mounts, security, {volume.name: volume for volume in spec.volumes})
    _check_volumes(spec)
    _check_secrets(spec)
    if not has_network:
        for where, health in _checks(spec):
            if health.needs_address:
                raise ValueError(f"{where} by http, tcp or grpc needs a network; this has none")


def _mounting(spec: Parts) -> Iterator[tuple[str, Sequence[Mount], Security]]:
    yield "", spec.mounts, spec.security
    for extra in spec.extra_containers:
        yield f"extra_containers.{extra.name}.", extra.mounts, extra.security or spec.security


def _checks(spec: Parts) -> Iterator[tuple[str, ContainerHealth]]:
    if spec.health is not None:
        yield "health", spec.health
    for extra in spec.extra_containers:
        if extra.health is not None:
            yield f"extra_containers.{extra.name}.health", extra.health


def _check_names(spec: Parts) -> None:
    _check_different("volumes", (volume.name for volume in spec.volumes))
    _check_different("extra_containers", (MAIN, *(extra.name for extra in spec.extra_containers)))


def _check_different(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what}: {name} is there twice")
        seen.add(name)


def _check_mounts(
    where: str, mounts: Sequence[Mount], security: Security, volumes: Mapping[str, Volume]
) -> None:
    _check_different(f"{where}mounts", (*security.scratch, *(mount.path for mount in mounts)))
    for mount in mounts:
        volume = volumes.get(mount.volume)
        if volume is None:
            known = ", ".join(volumes) or "none"
            raise ValueError(f"{where}mounts: no volume is called {mount.volume}; known: {known}")
        if mount.sub_path is not None and volume.kind is VolumeKind.HOST:
            raise ValueError(f"{where}mounts: {mount.volume} is of kind host: no sub_path")


def _check_volumes(spec: Parts) -> None:
    used = {volume.name: 0 for volume in spec.volumes}
    for _, mounts, _ in _mounting(spec):
        for name in {mount.volume for mount in mounts}:
            used[name] += 1
    for volume in spec.volumes:
        if not used[volume.name]:
            raise ValueError(f"volumes: {volume.name} is mounted nowhere")
        if volume.kind is VolumeKind.SCRATCH and used[volume.name] > 1:
            raise ValueError(
                f"volumes: {volume.name} is mounted by {used[volume.name]} containers: "
                "make it kind: shared"
            )
    wanted, disk = sum(volume.bytes for volume in spec.volumes), spec.resources.disk_bytes
    if wanted > disk:
        raise ValueError(f"volumes hold {wanted} bytes in all; resources.disk is {disk}")


def _check_secrets(spec: Parts) -> None:
    targets = [secret.target for secret in spec.secrets.values()]
    _check_different(
        "the environment", (*spec.env, *(one.env for one in targets if one.env is not None))
    )
    files = [target.file for target in targets if target.file is not None]
    _check_different("files of secrets", files)
    folders = (*spec.security.scratch, *(mount.path for mount in spec.mounts), *files)
    for file in files:
        for folder in folders:
            if file is not folder and lies_in(file, folder):
                raise ValueError(f"secrets: {file} lies in {folder}, which is mounted over it")
