"""Which artifacts and packages a request of Spinnaker means, each artifact pinned by its bytes."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from fleetwide.bakery.artifact_names import ArtifactName, kind_of, take_apart
from fleetwide.errors import FieldFault, InvalidInput
from fleetwide.models.bakery import Artifact, ArtifactType
from fleetwide.models.baseos import PACKAGE_PATTERN
from fleetwide.models.rosco import PackageArtifact, RoscoRequest

MAX_NAMES = 200
MAX_WORD = 200
_WEB = ("http://", "https://")
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,199}")
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_FRAGMENT = re.compile(r"sha256[=:]([0-9a-fA-F]{64})")


@dataclass(frozen=True)
class Upload:
    """An artifact that lies in the platform's object store."""

    sha256: str
    name: ArtifactName


Uploads = Callable[[str], Iterable[Upload]]
"""What may be meant by the name of a package, newest first; it may give others besides."""


@dataclass(frozen=True)
class Wanted:
    """What is to be on the image."""

    artifacts: list[Artifact]
    packages: list[str]
    """From the archives of the base."""


def wanted(request: RoscoRequest, uploads: Uploads, architecture: str) -> Wanted:
    """The artifacts and packages of a request for a base of ``architecture``.

    ``package_artifacts`` come first. A name that is none of them is looked for among the uploads;
    what is not there either is a package of the base's archives.

    Raises:
        InvalidInput: there is no artifact at all, one cannot be pinned, or a name is none.
    """
    told = [
        _pinned(one, f"package_artifacts[{number}]", uploads, architecture)
        for number, one in enumerate(request.package_artifacts or [])
    ]
    names = [
        name
        for name in _names(request.package or "")
        if not any(take_apart(one.filename).is_meant_by(name) for one in told)
    ]
    found = {name: _newest(name, uploads, architecture) for name in names}
    packages = [name for name, upload in found.items() if upload is None]
    artifacts = [*told, *(_uploaded(upload) for upload in found.values() if upload)]
    if not artifacts:
        raise _no_artifact(packages)
    _check_packages(packages)
    return Wanted(list({one.sha256: one for one in artifacts}.values()), packages)


def _names(package: str) -> list[str]:
    """What stands between blanks; sure to be short and plain from here on."""
    names = list(dict.fromkeys(package.split()))
    if len(names) > MAX_NAMES or any(len(name) > MAX_WORD for name in names):
        raise InvalidInput.for_field(
            "package", f"may have {MAX_NAMES} names of {MAX_WORD} characters"
        )
    strange = next((name for name in names if not (name.isascii() and name.isprintable())), None)
    if strange is not None:
        raise InvalidInput.for_field("package", "must be names in ASCII", given=strange)
    return names


def _newest(words: str, uploads: Uploads, architecture: str) -> Upload | None:
    return next(
        (
            upload
            for upload in uploads(words)
            if upload.name.is_meant_by(words) and upload.name.runs_on(architecture)
        ),
        None,
    )


def _uploaded(upload: Upload) -> Artifact:
    filename = upload.name.filename
    kind = kind_of(filename) or ArtifactType.BINARY
    return Artifact(type=kind, sha256=upload.sha256, filename=filename)


def _pinned(told: PackageArtifact, field: str, uploads: Uploads, architecture: str) -> Artifact:
    sha256, address = _sha256(told, field), _address(told)
    if sha256 is None and address is None:
        return _uploaded(_named_upload(told, field, uploads, architecture))
    if sha256 is None:
        raise InvalidInput.for_field(
            f"{field}.metadata.sha256",
            "missing: without its SHA-256 nobody can tell what lies at that address later",
            hint='"metadata": {"sha256": "<64 hex digits>"}, or end the address with '
            "#sha256=<64 hex digits>",
        )
    filename = _filename(told, address, field)
    kind = _kind(told, filename)
    return Artifact(type=kind, sha256=sha256, filename=filename, url=_checked(address, field))


def _named_upload(told: PackageArtifact, field: str, uploads: Uploads, architecture: str) -> Upload:
    for words in _words(told):
        upload = _newest(words, uploads, architecture)
        if upload is not None:
            return upload
    raise InvalidInput.for_field(
        field,
        "no such artifact was uploaded, and it has no address",
        given=next(iter(_words(told)), None),
        hint="upload it (fleetwide artifact upload FILE), or give an http(s) `reference` and "
        "`metadata.sha256`",
    )


def _words(told: PackageArtifact) -> list[str]:
    """By what it may be known among the uploads, the most exact first."""
    file = _last_part(told.reference or "")
    exact = f"{told.name}_{told.version}" if told.name and told.version else ""
    loose = told.name if told.name and not told.version else ""
    return [words for words in (file, exact, loose) if words]


def _sha256(told: PackageArtifact, field: str) -> str | None:
    fragment = _FRAGMENT.fullmatch(urlsplit(told.reference or "").fragment)
    given = (told.metadata or {}).get("sha256") or told.sha256 or (fragment and fragment[1])
    if not given:
        return None
    match = _SHA256.fullmatch(str(given).lower())
    if match is None:
        raise InvalidInput.for_field(
            f"{field}.metadata.sha256", "must be 64 hex digits", given=str(given)
        )
    return match[1]


def _address(told: PackageArtifact) -> str | None:
    """Where it can be fetched: ``reference``, or ``location``, or the one inside the other."""
    reference = (told.reference or "").partition("#")[0]
    location = told.location or ""
    if reference.startswith(_WEB):
        return reference
    if not location.startswith(_WEB):
        return None
    if kind_of(_last_part(location)) is not None:
        return location
    return f"{location.rstrip('/')}/{reference.lstrip('/')}" if reference else None


def _checked(address: str | None, field: str) -> str | None:
    # Not shown: an address with a password in it is refused too.
    if address is not None and re.search(r"[\s@]", address):
        raise InvalidInput.for_field(
            f"{field}.reference",
            "must be an address without blanks and without a user or password",
        )
    return address


def _filename(told: PackageArtifact, address: str | None, field: str) -> str:
    named = _last_part(address or told.reference or "")
    if kind_of(named) is None and told.name and told.version:
        ending = ".deb" if _kind(told, named) is ArtifactType.DEB else ""
        named = named or f"{_last_part(told.name)}_{told.version}{ending}"
    named = named or _last_part(told.name or "")
    if _FILENAME.fullmatch(named) is None:
        raise InvalidInput.for_field(
            f"{field}.reference",
            "must end with the file's name, of letters, digits and ._+~-",
        )
    return named


def _kind(told: PackageArtifact, filename: str) -> ArtifactType:
    """By the file's ending, else by what Spinnaker calls it."""
    known = {one.value: one for one in ArtifactType if one is not ArtifactType.IMAGE}
    return kind_of(filename) or known.get((told.type or "").lower(), ArtifactType.BINARY)


def _last_part(address: str) -> str:
    return PurePosixPath(unquote(urlsplit(address).path)).name


def _check_packages(packages: list[str]) -> None:
    for name in packages:
        if re.fullmatch(PACKAGE_PATTERN, name) is None:
            raise InvalidInput.for_field(
                "package",
                "no artifact of that name was uploaded, and a package of the archives it cannot be",
                given=name,
                hint=f"fleetwide artifact upload {name}.deb",
            )


def _no_artifact(packages: list[str]) -> InvalidInput:
    named = ", ".join(packages[:5]) or "none was named"
    return InvalidInput(
        f"package: there is no deployment artifact to bake ({named}): of what is named at least "
        "one must have been uploaded, or come by address and SHA-256 in package_artifacts",
        hint=f"fleetwide artifact upload {packages[0] if packages else 'hello_1.0_all'}.deb",
        fields=(FieldFault("package", "names no artifact"),),
    )
