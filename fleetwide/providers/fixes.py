"""Changelogs out of .deb files that are not installed, and the security tracker's data."""

import gzip
import json
import re
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from json.decoder import JSONDecodeError
from pathlib import Path
from typing import IO, Any

from fleetwide.baseos.fixes import Upgrade, available_fixes
from fleetwide.baseos.tracker import FIELD
from fleetwide.errors import ArtifactRejected, InvalidInput, NotFound, PlatformError
from fleetwide.models.os_locks import LockedPackage
from fleetwide.models.os_reports import Fix
from fleetwide.providers.progress import Progress, Throttled, no_progress, span

MAX_CHANGELOG_BYTES = 8 * 1024 * 1024
"""Newest entries stand first: what lies beyond is years old."""
# Debian's own changelog; in a native package it is the only one and goes without the suffix.
_OWN = re.compile(r"(\./)?usr/share/doc/[^/]+/changelog\.Debian(\.gz)?")
_NATIVE = re.compile(r"(\./)?usr/share/doc/[^/]+/changelog(\.gz)?")
_BLANKS = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class Candidate:
    """A newer package of the security suite for an installed one, with its file."""

    installed: LockedPackage
    newer: LockedPackage
    deb: Path


def find_fixes(candidates: Sequence[Candidate], progress: Progress = no_progress) -> list[Fix]:
    """What the newer packages repair, ordered by package; fails as ``read_changelog`` does."""
    upgrades = []
    for number, one in enumerate(candidates):
        part = span(progress, number / len(candidates), (number + 1) / len(candidates))
        upgrades.append(Upgrade(one.installed, one.newer, read_changelog(one.deb, part)))
    return available_fixes(upgrades)


def read_changelog(deb: Path, progress: Progress = no_progress) -> str | None:
    """The start of the Debian changelog in ``deb``; None when it brings none of its own.

    Nothing is unpacked to disk or installed, and no more than ``MAX_CHANGELOG_BYTES`` are kept.

    Raises:
        ArtifactRejected: the file is no readable .deb.
        PlatformError: dpkg-deb is missing.
    """
    command = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    told = Throttled(progress)
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise PlatformError("dpkg-deb is missing", hint="apt-get install dpkg") from error
    with process:
        try:
            assert process.stdout is not None
            return _changelog(process, process.stdout, lambda: told(f"reading {deb.name}", 0.0))
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise ArtifactRejected(f"{deb.name} is no readable Debian package: {error}") from error
        finally:
            process.kill()


def _changelog(
    process: "subprocess.Popen[bytes]", stream: IO[bytes], tick: Callable[[], None]
) -> str | None:
    native = None
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            tick()
            if _OWN.fullmatch(member.name) and member.isfile():
                return _text(archive, member)
            if _NATIVE.fullmatch(member.name) and member.isfile():
                native = _text(archive, member)
    # Only now does a cut-off file show: to tarfile it ends like a whole one.
    while stream.read(1 << 16):
        tick()
    if process.wait() != 0:
        raise tarfile.ReadError("it is cut off or damaged")
    return native


def _text(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    content = archive.extractfile(member)
    assert content is not None
    if not member.name.endswith(".gz"):
        return content.read(MAX_CHANGELOG_BYTES).decode(errors="replace")
    with gzip.GzipFile(fileobj=content) as unpacked:
        return unpacked.read(MAX_CHANGELOG_BYTES).decode(errors="replace")


def read_tracker(path: Path, sources: Collection[str]) -> dict[str, Any]:
    """The entries of ``sources`` in a file of Debian's security tracker (some 70 MB of JSON).

    Its entries are decoded one by one, so that memory holds little more than the text.

    Raises:
        NotFound: there is no such file, or it cannot be read.
        InvalidInput: it is no JSON object.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return {key: value for key, value in _members(text) if key in sources}
    except OSError as error:
        raise NotFound(
            f"there is no security tracker file {path} to read: {error.strerror}",
            hint=f"ls -l {path}",
        ) from error
    except (ValueError, RecursionError) as error:
        message = f"is no security tracker file: {error}"
        raise InvalidInput.for_field(FIELD, message, given=str(path)) from error


def _members(text: str) -> Iterator[tuple[str, Any]]:
    """The members of one JSON object, each decoded when its turn comes."""
    decode = json.JSONDecoder().raw_decode
    place, first = _after(text, 0, "{"), True
    while not text.startswith("}", _blank(text, place)):
        start = _blank(text, place if first else _after(text, place, ","))
        key, place = decode(text, start)
        if not isinstance(key, str):
            raise JSONDecodeError("a name must be a text", text, start)
        value, place = decode(text, _blank(text, _after(text, place, ":")))
        yield key, value
        first = False
    end = _after(text, place, "}")
    if _blank(text, end) != len(text):
        raise JSONDecodeError("more follows the object", text, end)


def _after(text: str, place: int, sign: str) -> int:
    place = _blank(text, place)
    if not text.startswith(sign, place):
        raise JSONDecodeError(f"{sign!r} is missing", text, place)
    return place + 1


def _blank(text: str, place: int) -> int:
    """Where the next sign after blanks stands."""
    match = _BLANKS.match(text, place)
    assert match is not None
    return match.end()
