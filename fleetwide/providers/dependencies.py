"""What artifacts need beyond their base: resolved to the byte, and fetched."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx2

from fleetwide.errors import ArtifactRejected, NotFound
from fleetwide.models.bakery import ArtifactType
from fleetwide.models.bakes import Dependency, DependencyKind, ResolvedBake
from fleetwide.models.os_locks import Lock
from fleetwide.providers.deb_dependencies import INIT_PACKAGE, DebRequest, resolve_debs
from fleetwide.providers.debs import read_deb
from fleetwide.providers.downloads import PIECE_BYTES, download, verify
from fleetwide.providers.named_files import NamedFile, files_of_type
from fleetwide.providers.progress import Progress, Throttled, span
from fleetwide.providers.python_dependencies import WheelRequest, resolve_wheels
from fleetwide.providers.wheels import python_of


@dataclass(frozen=True)
class DependencyRequest:
    """A bake whose dependencies are to be found."""

    bake: ResolvedBake
    """Its ``dependencies`` are still empty."""
    artifacts: Sequence[Path]
    """In the order of the spec."""
    base: Path
    """The unpacked root file system of the base; it is only read."""
    lock: Lock | None
    """The base's lock: its archives are the ones that are asked."""
    folder: Path
    """Where apt's indexes are kept from one question to the next."""

    def of_kind(self, kind: ArtifactType) -> list[NamedFile]:
        """The artifacts of one kind with their names."""
        return files_of_type(kind, self.bake.spec.artifacts, self.artifacts)


def resolve_dependencies(request: DependencyRequest, progress: Progress) -> list[Dependency]:
    """What the artifacts, the spec's ``packages`` and its ``init`` need, ordered and pinned.

    Raises:
        DependencyUnsatisfied: something cannot be had; names what, for whom, against what.
        ArtifactRejected: an artifact cannot be read, or is for other machines than the base.
        PlatformError: an archive or index does not answer.
    """
    debs = _resolve_debs(request, span(progress, 0.0, 0.5))
    python = [request.of_kind(kind) for kind in (ArtifactType.WHEEL, ArtifactType.SDIST)]
    if not any(python):
        return debs
    added = {one.name: one.version for one in debs}
    wheels = WheelRequest(
        wheels=python[0],
        sdists=python[1],
        python=python_of(request.base, request.bake.base.architecture, added),
    )
    return [*debs, *resolve_wheels(wheels, span(progress, 0.5, 1.0))]


def _resolve_debs(request: DependencyRequest, progress: Progress) -> list[Dependency]:
    spec, base = request.bake.spec, request.bake.base
    files = request.of_kind(ArtifactType.DEB)
    wanted = DebRequest(
        base=base,
        root=request.base,
        debs=[read_deb(file.path, file.name, base.architecture) for file in files],
        names=[*spec.packages, *([INIT_PACKAGE] if spec.init else [])],
        lock=request.lock,
        folder=request.folder,
    )
    return resolve_debs(wanted, progress)


def fetch_dependency(dependency: Dependency, target: Path, progress: Progress) -> None:
    """Bring a dependency to ``target``, and check its size and its digest.

    An index that wants credentials finds them in the netrc file of the builder, where pip looks
    for them too. Nothing is left at ``target`` after an error.

    Raises:
        ArtifactMismatch: it has other bytes than were pinned.
        ArtifactRejected: it is no longer at its URL.
        NotFound: it is no longer in the builder's own folder of wheels.
        ServiceUnavailable: its server fails.
    """
    told = Throttled(progress)
    try:
        _bring(dependency, target, told)
        verify(target, dependency.sha256, dependency.filename, told, dependency.size or None)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _bring(dependency: Dependency, target: Path, progress: Progress) -> None:
    name, place = dependency.filename, urlsplit(dependency.url)
    if place.scheme == "file" and dependency.kind is DependencyKind.WHEEL:
        _copy(Path(url2pathname(place.path)), target, name, progress)
    elif place.scheme in ("http", "https"):
        download(dependency.url, target, name, progress, _credentials())
    else:
        raise ArtifactRejected(f"{name}: {place.scheme} is no way to fetch it")


def _credentials() -> httpx2.Auth | None:
    netrc = Path.home() / ".netrc"
    return httpx2.NetRCAuth(str(netrc)) if netrc.is_file() else None


def _copy(source: Path, target: Path, name: str, progress: Progress) -> None:
    """From a folder of wheels of the builder, which its pip is told to look into."""
    try:
        with source.open("rb") as reader, target.open("wb") as writer:
            while piece := reader.read(PIECE_BYTES):
                writer.write(piece)
                progress(f"fetching {name}", None)
    except FileNotFoundError as error:
        raise NotFound(
            f"{name} is no longer in the builder's folder of wheels",
            hint="bake with `refresh: true` to resolve the dependencies anew",
        ) from error
