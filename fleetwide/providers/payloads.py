"""What artifacts add to a base: the entries of a bake's own layer, made in an empty folder."""

import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name

from fleetwide.bakery.binaries import HEAD_BYTES, check_program
from fleetwide.bakery.requirements import PythonPlatform, check_requirements, reached
from fleetwide.errors import ArtifactRejected
from fleetwide.models.bakery import ArtifactType
from fleetwide.models.bakes import DependencyKind, ResolvedBake
from fleetwide.models.baseos import Target
from fleetwide.providers.debs import install_debs, read_deb
from fleetwide.providers.installed_wheels import install_wheels
from fleetwide.providers.layers import LayerEntry, plain_entries
from fleetwide.providers.named_files import NamedFile, files_of_type
from fleetwide.providers.overlay import changed_entries
from fleetwide.providers.payload_entries import fitted, folders_to, merged, without_set_ids
from fleetwide.providers.payload_images import image_entries
from fleetwide.providers.progress import Progress, span
from fleetwide.providers.recipe_files import recipe_entries
from fleetwide.providers.script_limits import ScriptLimits
from fleetwide.providers.sdists import BuildPlace, build_sdist
from fleetwide.providers.tarballs import unpack_tarball
from fleetwide.providers.wheels import Wheel, inspect_wheels, python_of
from fleetwide.providers.zips import unpack_zip

# Files of an application carry no time of the base, so that their layer fits every base. It is
# 1980-01-01, the earliest time that a zip archive can hold.
APP_EPOCH = 315_532_800


@dataclass(frozen=True)
class PayloadInputs:
    """What a payload is made of; all files are here and checked."""

    bake: ResolvedBake
    artifacts: Sequence[Path]
    """In the order of the spec; of an image the folder that ``fetch_image`` filled."""
    dependencies: Sequence[Path]
    """In the order of ``bake.dependencies``."""
    base: Path
    """The unpacked root file system of the base; it is only read."""
    target: Target = Target.CONTAINER
    """The face that the payload is for: some files of a recipe are for one only."""
    limits: ScriptLimits = field(default_factory=ScriptLimits)
    """What all install scripts together, and the build of each sdist, may take."""

    def of_kind(self, kind: ArtifactType) -> list[NamedFile]:
        """The artifacts of one kind with their names."""
        return files_of_type(kind, self.bake.spec.artifacts, self.artifacts)

    def needed(self, kind: DependencyKind) -> list[NamedFile]:
        """The dependencies of one kind, ordered by name: the key does not know their order."""
        pairs = zip(self.dependencies, self.bake.dependencies, strict=True)
        ordered = sorted(pairs, key=lambda pair: pair[1].name)
        return [NamedFile(path, one.filename) for path, one in ordered if one.kind is kind]


@dataclass(frozen=True)
class Payload:
    """What is put onto the base."""

    entries: list[LayerEntry]
    packages: dict[str, str] = field(default_factory=dict)
    """Distribution and Python packages that it adds, to their version."""
    python: str = ""
    """``3.11`` when its folders depend on that version of the base's Python."""


@dataclass(frozen=True)
class _Bench:
    """What one payload is made with."""

    inputs: PayloadInputs
    workdir: Path
    progress: Progress
    debs: Mapping[str, str]
    """Distribution packages that are installed already, to their version."""

    @property
    def trees(self) -> list[Path]:
        """The base, below what the distribution packages change of it."""
        upper = self.workdir / "overlay/upper"
        return [upper, self.inputs.base] if self.debs else [self.inputs.base]

    @property
    def staging(self) -> Path:
        return self.workdir / "staging"


def make_payload(inputs: PayloadInputs, workdir: Path, progress: Progress) -> Payload:
    """Make the payload below ``workdir``, an empty folder of its own; it must outlive the payload.

    The same inputs give the same entries. Raises ``ArtifactRejected`` and its kin when an artifact
    cannot be used, ``InstallFailed`` and ``BuildFailed`` when a program of its own fails, and
    whatever ``progress`` raises (that cancels the work).
    """
    below = _install_debs(inputs, workdir, span(progress, 0.0, 0.5))
    bench = _Bench(inputs, workdir, span(progress, 0.5, 1.0), below.packages)
    staged = _MAKERS[inputs.bake.spec.artifacts[0].type](bench)
    entries = merged(below.entries, fitted(staged.entries, inputs.base))
    recipe = inputs.bake.recipe
    if recipe is not None:
        files = [file for file in recipe.files if inputs.target in file.targets]
        own = recipe_entries(files, bench.trees, workdir / "files", APP_EPOCH)
        entries = merged(entries, fitted(own, inputs.base))
        entries = without_set_ids(entries) if recipe.drop_setuid else entries
    packages = {**below.packages, **staged.packages}
    return Payload(entries, dict(sorted(packages.items())), staged.python)


def _install_debs(inputs: PayloadInputs, workdir: Path, progress: Progress) -> Payload:
    """Install all debs: those of the artifacts, and those that something needs."""
    files = [*inputs.needed(DependencyKind.DEB), *inputs.of_kind(ArtifactType.DEB)]
    if not files:
        return Payload([])
    base = inputs.bake.base
    debs = [read_deb(file.path, file.name, base.architecture) for file in files]
    started = time.time()
    upper = install_debs(debs, inputs.base, workdir / "overlay", inputs.limits, progress)
    entries = changed_entries(upper, inputs.base, base.created_epoch, started)
    return Payload(entries, {deb.control.name: deb.control.version for deb in debs})


def _nothing_more(_bench: _Bench) -> Payload:
    return Payload([])


def _from_tarball(bench: _Bench) -> Payload:
    [file] = bench.inputs.of_kind(ArtifactType.TARBALL)
    root = f"/opt/{bench.inputs.bake.spec.name}"
    unpack_tarball(file.path, file.name, bench.staging, root, bench.progress)
    return Payload(plain_entries(bench.staging, APP_EPOCH))


def _from_zip(bench: _Bench) -> Payload:
    [file] = bench.inputs.of_kind(ArtifactType.ZIP)
    root = f"/opt/{bench.inputs.bake.spec.name}"
    deflated = unpack_zip(file.path, file.name, bench.staging, root, bench.progress)
    return Payload(plain_entries(bench.staging, APP_EPOCH, deflated))


def _from_binaries(bench: _Bench) -> Payload:
    """The files themselves are the layer's content: none is copied."""
    folder = f"opt/{bench.inputs.bake.spec.name}/bin"
    entries = {one.path: one for one in folders_to(f"{folder}/", bench.workdir, APP_EPOCH)}
    for file in bench.inputs.of_kind(ArtifactType.BINARY):
        with file.path.open("rb") as reader:
            head = reader.read(HEAD_BYTES)
        check_program(head, file.name, bench.inputs.bake.base.architecture)
        path = f"{folder}/{file.name}"
        if path in entries:
            raise ArtifactRejected(f"{file.name} is named twice")
        entries[path] = LayerEntry(path, file.path, stat.S_IFREG | 0o755, mtime=APP_EPOCH)
    return Payload(list(entries.values()))


def _from_image(bench: _Bench) -> Payload:
    [file] = bench.inputs.of_kind(ArtifactType.IMAGE)
    return Payload(image_entries(file.path, file.name, bench.staging, bench.progress))


def _from_python(bench: _Bench) -> Payload:
    """Wheels, sdists that become wheels, and of the dependencies what is needed to run them."""
    inputs, links = bench.inputs, bench.workdir / "wheels"
    python = python_of(inputs.base, inputs.bake.base.architecture, bench.debs)
    needed, given = inputs.needed(DependencyKind.WHEEL), inputs.of_kind(ArtifactType.WHEEL)
    brought = inspect_wheels(needed, python, links, bench.progress)
    wanted = inspect_wheels(given, python, links, bench.progress)
    place = BuildPlace(bench.trees, python, [*brought, *wanted], inputs.limits)
    built: list[Wheel] = []
    for number, sdist in enumerate(inputs.of_kind(ArtifactType.SDIST)):
        made = build_sdist(sdist, place, bench.workdir / f"sdist-{number}", bench.progress)
        built += inspect_wheels([made], python, links, bench.progress)
    wheels = _running([*wanted, *built], brought, python)
    bench.staging.mkdir()
    deflated = install_wheels(wheels, python, bench.staging, bench.progress)
    # A key names the bytes of a wheel that was given, but not of one that was built for it.
    own = {wheel.path for wheel in built}
    pinned = {path: one for path, one in deflated.items() if one.archive not in own}
    packages = {wheel.metadata.name: str(wheel.metadata.version) for wheel in wheels}
    version = ".".join(map(str, python.version))
    return Payload(plain_entries(bench.staging, APP_EPOCH, pinned), packages, version)


def _running(
    wanted: Sequence[Wheel], brought: Sequence[Wheel], python: PythonPlatform
) -> list[Wheel]:
    """What is installed: ``wanted``, and what that needs; build backends are not."""
    given = [wheel.metadata for wheel in wanted]
    everything = [*given, *(wheel.metadata for wheel in brought)]
    check_requirements(given, everything, python)
    names = reached(given, everything, python)
    return [*wanted, *(one for one in brought if canonicalize_name(one.metadata.name) in names)]


_MAKERS: dict[ArtifactType, Callable[[_Bench], Payload]] = {
    ArtifactType.DEB: _nothing_more,
    ArtifactType.TARBALL: _from_tarball,
    ArtifactType.ZIP: _from_zip,
    ArtifactType.WHEEL: _from_python,
    ArtifactType.SDIST: _from_python,
    ArtifactType.BINARY: _from_binaries,
    ArtifactType.IMAGE: _from_image,
}
