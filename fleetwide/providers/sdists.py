"""Build wheels from Python source distributions, on the base that they are for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.metadata import Metadata
from packaging.utils import InvalidSdistFilename, canonicalize_name, parse_sdist_filename

from fleetwide.bakery.build_systems import BuildSystem, build_system
from fleetwide.bakery.requirements import PythonPlatform
from fleetwide.errors import ArtifactRejected, BuildFailed
from fleetwide.providers import build_backend
from fleetwide.providers.installed_wheels import install_wheels
from fleetwide.providers.named_files import NamedFile
from fleetwide.providers.overlay import BaseOverlay
from fleetwide.providers.progress import Progress, Throttled
from fleetwide.providers.root_tree import RootTree
from fleetwide.providers.script_limits import ScriptLimits, bounded
from fleetwide.providers.tarballs import open_tar, unpack_tarball
from fleetwide.providers.wheels import INTERPRETER, Wheel

MAX_TEXT_BYTES = 1024 * 1024
TOLD_LINES = 12
BENCH = "tmp/fleetwide"
"""Where a build has its files, as the base sees it."""
# A zip cannot hold an earlier time.
BUILD_EPOCH = 315_532_800


@dataclass(frozen=True)
class Sdist:
    """What an sdist says about itself."""

    metadata: Metadata
    build: BuildSystem


@dataclass(frozen=True)
class BuildPlace:
    """What the sdists of a bake are built with."""

    trees: Sequence[Path]
    """The unpacked base below what its packages change; they are only read."""
    python: PythonPlatform
    wheels: Sequence[Wheel]
    """The build backends and what they need, among others."""
    limits: ScriptLimits
    """What one build may take."""


def read_sdist(file: NamedFile, progress: Progress) -> Sdist:
    """What an sdist (.tar.gz) says about itself; nothing is unpacked.

    Raises:
        ArtifactRejected: it is no sdist, or not the one that its name says.
    """
    told = Throttled(progress)
    name, version = _parsed_name(file.name)
    texts: dict[str, str] = {}
    with open_tar(file.path, file.name) as archive:
        for member in archive:
            told(f"reading {file.name}", None)
            _, _, inner = member.name.removeprefix("./").partition("/")
            if inner in ("PKG-INFO", "pyproject.toml") and member.isreg():
                content = archive.extractfile(member)
                assert content is not None
                texts[inner] = content.read(MAX_TEXT_BYTES).decode(errors="replace")
    if "PKG-INFO" not in texts:
        raise ArtifactRejected(f"{file.name} is no source distribution: it has no PKG-INFO")
    metadata = _metadata(texts["PKG-INFO"], file.name)
    if canonicalize_name(metadata.name) != name or str(metadata.version) != version:
        raise ArtifactRejected(
            f"{file.name} says in its metadata that it is {metadata.name} {metadata.version}"
        )
    return Sdist(metadata, build_system(texts.get("pyproject.toml"), file.name))


def _parsed_name(name: str) -> tuple[str, str]:
    try:
        project, version = parse_sdist_filename(name)
    except InvalidSdistFilename as error:
        raise ArtifactRejected(f"{name}: {error}", hint="python -m build --sdist") from error
    if not name.endswith(".tar.gz"):
        raise ArtifactRejected(
            f"{name}: source distributions are .tar.gz files", hint="python -m build --sdist"
        )
    return project, str(version)


def _metadata(text: str, name: str) -> Metadata:
    try:
        metadata = Metadata.from_email(text.encode(), validate=False)
        _ = (metadata.name, metadata.version, metadata.requires_dist)
    except (ValueError, ExceptionGroup) as error:
        raise ArtifactRejected(f"{name}: its PKG-INFO cannot be read: {error}") from error
    return metadata


def build_sdist(file: NamedFile, place: BuildPlace, workdir: Path, progress: Progress) -> NamedFile:
    """Let an sdist's own backend make a wheel of it, by the base's Python and without a network.

    What the build does to the base is forgotten. ``workdir`` does not exist yet.

    Raises:
        BuildFailed: the backend is missing or failed; with its last lines.
        InstallTimedOut: it did not come to an end. Nothing that it started is left.
        LimitExceeded: it took more than it may; the same.
        ArtifactRejected: the sdist cannot be unpacked.
    """
    sdist = read_sdist(file, progress)
    bench, overlay = workdir / "bench", BaseOverlay(place.trees, workdir / "overlay")
    unpack_tarball(file.path, file.name, bench, "/source", progress)
    for name in ("wheels", "output"):
        (bench / name).mkdir()
    install_wheels(place.wheels, place.python, bench / "wheels", progress)
    (bench / "build_backend.py").write_bytes(Path(build_backend.__file__).read_bytes())
    arguments = _arguments(sdist, place.python, bench)
    # It writes to the base and to its own bench: both lie below the workdir.
    with bounded(place.limits, f"the build of {file.name}", workdir, progress) as bounds:
        finished = overlay.run(
            [INTERPRETER, "-B", f"/{BENCH}/build_backend.py", *arguments],
            binds={BENCH: bench},
            env={"SOURCE_DATE_EPOCH": str(BUILD_EPOCH)},
            bounds=bounds,
            read=lambda line: (f"building {file.name}: {line}"[:100], None),
        )
    last = finished.lines[-1] if finished.lines else ""
    if finished.returncode != 0 or not last.startswith(build_backend.WHEEL):
        raise _failure(file.name, finished.lines)
    return _built(bench, last.removeprefix(build_backend.WHEEL), file.name)


def _arguments(sdist: Sdist, python: PythonPlatform, bench: Path) -> list[str]:
    """What ``build_backend.py`` is told."""
    source = f"/{BENCH}/source/{_source_folder(bench / 'source', sdist)}"
    short = ".".join(map(str, python.version))
    packages = f"/{BENCH}/wheels/usr/local/lib/python{short}/dist-packages"
    folders = [f"{source}/{folder}" for folder in sdist.build.backend_path]
    return [source, f"/{BENCH}/output", sdist.build.backend, *folders, packages]


def _source_folder(unpacked: Path, sdist: Sdist) -> str:
    folders = [one.name for one in unpacked.iterdir() if one.is_dir() and not one.is_symlink()]
    if len(folders) != 1:
        raise ArtifactRejected(
            f"the sdist of {sdist.metadata.name} must hold one folder, not {len(folders)}"
        )
    return folders[0]


def _built(bench: Path, wheel: str, name: str) -> NamedFile:
    """The backend may have left anything under that name: only a plain file is taken."""
    path = bench / "output" / Path(wheel).name
    with RootTree(bench) as files:
        plain = files.resolved(f"/output/{path.name}") == f"/output/{path.name}"
    if not plain or not path.is_file():
        raise BuildFailed(f"{name}: its build backend made no wheel {wheel!r}")
    return NamedFile(path, path.name)


def _failure(name: str, lines: Sequence[str]) -> BuildFailed:
    missing = [one for one in lines if one.startswith(build_backend.MISSING)]
    if missing:
        wanted = missing[-1].removeprefix(build_backend.MISSING)
        return BuildFailed(
            f"{name}: its build backend wants {wanted}, which pyproject.toml does not require",
            hint="pyproject.toml: add them to `requires` of [build-system]",
        )
    words = "\n".join(lines[-TOLD_LINES:])
    return BuildFailed(
        f"{name} cannot be built on the base; its build backend's last lines:\n{words}",
        hint="build it where its compilers are, and bake the wheel: python -m build --wheel",
    )
