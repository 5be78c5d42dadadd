"""Which wheels a bake needs beyond its own: asked of pip, whose configuration names the index."""

import json
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from packaging.metadata import Metadata, RawMetadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fleetwide.bakery.requirements import (
    PythonPlatform,
    WheelNeed,
    applying_requirements,
    check_direct,
    reached,
    unmet_requirements,
    unsatisfied,
)
from fleetwide.errors import DependencyUnsatisfied, PlatformError
from fleetwide.models.bakes import Dependency, DependencyKind
from fleetwide.providers.named_files import NamedFile
from fleetwide.providers.progress import Progress
from fleetwide.providers.sandbox import run_isolated
from fleetwide.providers.sdists import read_sdist
from fleetwide.providers.wheels import read_wheels

MAX_ROUNDS = 5
TOLD_LINES = 6
# What of the worker's environment says how pip reaches its index.
_KEPT = re.compile(r"PIP_.*|HOME|XDG_CONFIG_.*|NETRC|SSL_CERT_.*|REQUESTS_CA_BUNDLE|(?i:.*_proxy)")
_USER_INFO = re.compile(r"//[^/@\s]+@")
_QUERY = re.compile(r"(https?://[^\s?#]+)[?#]\S+")
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*\.whl")
_HINT = "pip download --only-binary=:all: <requirement>   # on the builder, as the worker's user"


@dataclass(frozen=True)
class WheelRequest:
    """Wheels and sdists, and the Python that they are for."""

    wheels: Sequence[NamedFile]
    sdists: Sequence[NamedFile]
    python: PythonPlatform


def resolve_wheels(request: WheelRequest, progress: Progress) -> list[Dependency]:
    """The wheels that ``request`` needs to run, and its sdists to be built, ordered by name.

    pip finds them, by its own configuration. It judges environment markers by the worker's Python
    and not by the base's: markers are settled here, and what pip then left out is asked for again.
    When nothing is missing, nobody is asked.

    Raises:
        DependencyUnsatisfied: a requirement cannot be had; names it and who has it.
        ArtifactRejected: a wheel or sdist cannot be read, or requires something by a URL.
        PlatformError: this worker has no pip, or the index gives no SHA-256.
    """
    with tempfile.TemporaryDirectory(prefix="fleetwide-wheels-") as name:
        folder = Path(name)
        own = [wheel.metadata for wheel in read_wheels(request.wheels, request.python, folder)]
        sdists = [read_sdist(file, progress) for file in request.sdists]
        own += [sdist.metadata for sdist in sdists]
        builds = [_build(sdist.metadata, sdist.build.requires) for sdist in sdists]
        check_direct([*own, *builds])
        question = _Question(own, builds, request.python, folder)
        return _answer(question, progress)


def _build(metadata: Metadata, requires: Sequence[Requirement]) -> Metadata:
    """The build of an sdist as a package of its own, which requires what the build does."""
    return _made(f"build-of-{metadata.name}", str(metadata.version), list(map(str, requires)))


def _made(name: str, version: str, requires: Sequence[str]) -> Metadata:
    raw = RawMetadata(
        metadata_version="2.1", name=name, version=version, requires_dist=list(requires)
    )
    return Metadata.from_raw(raw, validate=False)


@dataclass(frozen=True)
class _Question:
    own: Sequence[Metadata]
    builds: Sequence[Metadata]
    python: PythonPlatform
    folder: Path

    @property
    def wanted(self) -> list[Metadata]:
        return [*self.own, *self.builds]

    def unmet(self, found: Sequence[Metadata]) -> list[WheelNeed]:
        return unmet_requirements(self.wanted, [*self.wanted, *found], self.python)


def _answer(question: _Question, progress: Progress) -> list[Dependency]:
    found: dict[str, tuple[Metadata, Dependency]] = {}
    further: list[Requirement] = []
    standing = [str(_stand_in(one, question)) for one in question.wanted]
    for number in range(MAX_ROUNDS):
        unmet = question.unmet([one for one, _ in found.values()])
        if not unmet:
            break
        if number > 0:
            # Only markers that this worker's Python judges otherwise are left out the first time.
            further += [_plain(requirement) for _, requirement in unmet]
        report = _ask_pip(question, [*standing, *map(str, further)], unmet, progress)
        found = _read_report(report, {canonicalize_name(one.name) for one in question.wanted})
    else:
        brought = [*question.wanted, *(one for one, _ in found.values())]
        raise unsatisfied(question.unmet([one for one, _ in found.values()]), brought)
    needed = reached(question.wanted, [one for one, _ in found.values()], question.python)
    return [dependency for name, (_, dependency) in sorted(found.items()) if name in needed]


def _plain(requirement: Requirement) -> Requirement:
    """The requirement without its marker, which holds."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return Requirement(f"{requirement.name}{extras}{requirement.specifier}")


def _stand_in(package: Metadata, question: _Question) -> Path:
    """An empty wheel that requires what ``package`` does on the base, for pip to look at."""
    requires = [_plain(one) for one in applying_requirements(package, question.python)]
    stem = f"{re.sub(r'[-_.]+', '_', package.name)}-{package.version}"
    lines = ["Metadata-Version: 2.1", f"Name: {package.name}", f"Version: {package.version}"]
    lines += [f"Provides-Extra: {extra}" for extra in package.provides_extra or []]
    lines += [f"Requires-Dist: {one}" for one in requires]
    lines += [f"Requires-Dist: {one}" for one in _of_extras(package)]
    path = question.folder / "stand-ins" / f"{stem}-py3-none-any.whl"
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        info = f"{stem}.dist-info"
        archive.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def _of_extras(package: Metadata) -> list[Requirement]:
    """What only extras require: another package may ask for them."""
    return [one for one in package.requires_dist or [] if one.marker and "extra" in str(one.marker)]


def _ask_pip(
    question: _Question, wanted: Sequence[str], unmet: Sequence[WheelNeed], progress: Progress
) -> dict[str, Any]:
    report = question.folder / "report.json"
    report.unlink(missing_ok=True)
    finished = run_isolated(
        [sys.executable, "-I", "-m", "pip", *_options(question.python, report), "--", *wanted],
        env=_environment(os.environ),
        progress=progress,
        read=lambda line: (f"resolving wheels: {_redacted(line)}"[:100], None),
    )
    if finished.returncode == 0:
        document: dict[str, Any] = json.loads(report.read_bytes())
        return document
    if any("No module named pip" in line for line in finished.lines):
        raise PlatformError(
            "this worker's Python has no pip", hint=f"{sys.executable} -m ensurepip"
        )
    raise _pip_failure(unmet, question, finished.lines)


def _pip_failure(
    unmet: Sequence[WheelNeed], question: _Question, lines: Sequence[str]
) -> DependencyUnsatisfied:
    told = unsatisfied(unmet, question.wanted)
    errors = [line for line in lines if line.startswith("ERROR:")] or list(lines)
    words = "\n".join(map(_redacted, errors[-TOLD_LINES:]))
    return DependencyUnsatisfied(f"{told.message}; pip says:\n{words}", hint=_HINT)


def _options(python: PythonPlatform, report: Path) -> list[str]:
    short = "".join(map(str, python.version))
    options = ["install", "--dry-run", "--ignore-installed", "--no-input", "--report", str(report)]
    # Without a target pip takes no other Python than its own; nothing is written there.
    options += ["--target", str(report.with_name("target"))]
    options += ["--disable-pip-version-check", "--retries", "2", "--only-binary=:all:"]
    options += ["--python-version", ".".join(map(str, python.version)), "--implementation", "cp"]
    for abi in (f"cp{short}", "abi3", "none"):
        options += ["--abi", abi]
    for platform in python.platforms():
        options += ["--platform", platform]
    return options


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in given.items() if _KEPT.fullmatch(name)}
    return {**kept, "PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


def _redacted(text: str) -> str:
    """``text`` without what URLs may carry of credentials."""
    return _QUERY.sub(r"\1", _USER_INFO.sub("//", text))


def _read_report(
    report: Mapping[str, Any], own: set[str]
) -> dict[str, tuple[Metadata, Dependency]]:
    """The answer, less what was asked for. Source: pip's installation report, version 1."""
    found: dict[str, tuple[Metadata, Dependency]] = {}
    for item in report["install"]:
        raw = item["metadata"]
        metadata = _made(raw["name"], raw["version"], raw.get("requires_dist", []))
        name = canonicalize_name(metadata.name)
        if name not in own:
            found[name] = metadata, _dependency(metadata, item["download_info"])
    return found


def _dependency(metadata: Metadata, download: Mapping[str, Any]) -> Dependency:
    place = urlsplit(download["url"])
    filename = unquote(place.path.rpartition("/")[2])
    sha256 = download.get("archive_info", {}).get("hashes", {}).get("sha256", "")
    label = f"{metadata.name} {metadata.version}"
    # It becomes the name of a file, and the index may be anybody's.
    if not _FILENAME.fullmatch(filename):
        raise PlatformError(f"the index has {label} under the name {filename!r}")
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise PlatformError(f"the index gives no SHA-256 of {label}")
    host = place.netloc.rpartition("@")[2]
    return Dependency(
        kind=DependencyKind.WHEEL,
        name=canonicalize_name(metadata.name),
        version=str(metadata.version),
        filename=filename,
        sha256=sha256,
        url=urlunsplit((place.scheme, host, place.path, "", "")),
    )
