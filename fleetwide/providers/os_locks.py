"""Resolve a spec into a lock, once: the same archives and the same wishes are not solved again."""

import email.utils
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx2

from fleetwide.baseos.locks import lock_digest, make_lock, security_digest
from fleetwide.baseos.packages import MAYBE, faces_of, optional, wanted
from fleetwide.baseos.suites import (
    KEYRING_PACKAGES,
    Mirrors,
    check_suite,
    is_settled,
    named_mirrors,
    sources_of,
)
from fleetwide.errors import InvalidInput
from fleetwide.models.baseos import OSImageSpec
from fleetwide.models.os_locks import LOCK_FORMAT, Lock, LockedSource, LockRef, lock_key
from fleetwide.providers.apt import AptArchive
from fleetwide.providers.default_mirrors import default_mirrors
from fleetwide.providers.objects import ObjectStore
from fleetwide.providers.progress import Progress, span
from fleetwide.registry.digests import canonical_json, digest_of, hex_of

TIMEOUT = httpx2.Timeout(10.0, connect=5.0)
_VALID_UNTIL = re.compile(rb"^Valid-Until: (.+)$", re.MULTILINE)


class LockResolver:
    """A builder's way from specs to locks. ``folder`` keeps the indexes between two questions."""

    def __init__(self, folder: Path, objects: ObjectStore, mirrors: Mirrors) -> None:
        self._folder = folder.absolute()
        self._objects = objects
        self._mirrors = mirrors

    def resolve(self, spec: OSImageSpec, progress: Progress) -> tuple[Lock, LockRef]:
        """The lock of what the archives offer now; it lies in the object store afterwards.

        When every archive still has the signed index that an earlier answer was made from, and
        none of them has expired, that answer is given again.

        Raises:
            InvalidInput: unknown suite or package, or a keyring that the builder has not.
            BuildFailed: the packages cannot be installed together.
            PlatformError: an archive does not answer or is not signed as it should be.
        """
        check_suite(spec)
        sources = self._sources(spec)
        _check_keyrings(spec, sources)
        started = datetime.now(UTC)
        question = _question(spec, sources)
        releases = _signed_indexes(sources)
        known = self._remembered(question, releases)
        if known is not None:
            return known
        lock = self._solve(spec, sources, progress)
        ref = self._store(lock, started)
        if releases is not None:
            self._remember(question, releases, ref)
        return lock, ref

    def load(self, digest: str) -> Lock:
        """A lock from the object store."""
        return Lock.model_validate_json(self._objects.get_bytes(lock_key(digest)))

    def _solve(
        self, spec: OSImageSpec, sources: Sequence[LockedSource], progress: Progress
    ) -> Lock:
        archive = self._archive(spec, sources)
        with archive.held(progress):
            archive.update(span(progress, 0.0, 0.5))
            archive.exclude(spec.exclude)
            names = archive.names()
            solutions = {}
            faces = faces_of(spec)
            for number, face in enumerate(faces):
                progress(f"resolving packages for {face}", 0.5 + 0.4 * number / len(faces))
                solutions[face] = archive.solve([*wanted(spec, face), *optional(face, names)])
            chosen = sorted({one for found in solutions.values() for one in found}, key=str)
            progress("reading what was found", 0.9)
            stanzas, urls = archive.stanzas(chosen), archive.urls(chosen)
        return make_lock(spec, list(sources), solutions, stanzas, urls)

    def security_archive(self, spec: OSImageSpec) -> tuple[AptArchive, list[LockedSource]]:
        """The security suites that the spec draws on, to ask them alone; some suites have none."""
        sources = [one for one in self._sources(spec) if one.security]
        return self._archive(spec, sources), sources

    def _sources(self, spec: OSImageSpec) -> list[LockedSource]:
        mirrors = named_mirrors(spec, self._mirrors)
        if not is_settled(spec, mirrors):
            mirrors = mirrors.or_else(default_mirrors(spec.suite, spec.architecture))
        return sources_of(spec, mirrors)

    def _archive(self, spec: OSImageSpec, sources: Sequence[LockedSource]) -> AptArchive:
        places = [source.model_dump(mode="json") for source in sources]
        name = hex_of(digest_of(canonical_json([spec.architecture, places])))[:16]
        return AptArchive(self._folder / name, spec.architecture, sources)

    def _store(self, lock: Lock, started: datetime) -> LockRef:
        digest = lock_digest(lock)
        key = lock_key(digest)
        if not self._objects.exists(key):
            self._objects.put_bytes(key, lock.model_dump_json().encode())
        now = datetime.now(UTC)
        return LockRef(
            digest=digest,
            package_count=len(lock.packages),
            size=sum(package.size for package in lock.packages),
            security_digest=security_digest(lock),
            resolved_at=now,
            seconds=round((now - started).total_seconds(), 3),
        )

    def _memo(self, question: str) -> Path:
        return self._folder / f"{question}.json"

    def _remembered(
        self, question: str, releases: dict[str, bytes] | None
    ) -> tuple[Lock, LockRef] | None:
        if releases is None or not self._memo(question).is_file():
            return None
        memo = json.loads(self._memo(question).read_bytes())
        if memo["releases"] != _hashes(releases) or _expired(releases.values()):
            return None
        ref = LockRef.model_validate(memo["ref"])
        if not self._objects.exists(lock_key(ref.digest)):
            return None
        return self.load(ref.digest), ref

    def _remember(self, question: str, releases: dict[str, bytes], ref: LockRef) -> None:
        """Keep the answer, if apt read the very indexes that we saw before asking it."""
        read = {
            _sha256(path.read_bytes()) for path in self._folder.glob("*/state/lists/*_InRelease")
        }
        hashes = _hashes(releases)
        if read.issuperset(hashes.values()):
            memo = {"releases": hashes, "ref": ref.model_dump(mode="json")}
            partial = self._memo(question).with_suffix(".partial")
            partial.write_text(json.dumps(memo))
            partial.replace(self._memo(question))


def _check_keyrings(spec: OSImageSpec, sources: Sequence[LockedSource]) -> None:
    for source in sources:
        if not Path(source.keyring).is_file():
            install = f"apt-get install {KEYRING_PACKAGES[spec.distribution]}"
            raise InvalidInput.for_field(
                "keyring",
                f"the builder has no keyring for {source.url}",
                given=source.keyring,
                hint=f"on the builder: {install} (or name its own file as `keyring`)",
            )


def _question(spec: OSImageSpec, sources: Sequence[LockedSource]) -> str:
    """All that apt is asked, to the word: the same question has the same answer."""
    asked = {face: [*wanted(spec, face), *MAYBE[face]] for face in faces_of(spec)}
    places = [source.model_dump(mode="json") for source in sources]
    question = [LOCK_FORMAT, spec.suite, spec.architecture, asked, sorted(spec.exclude), places]
    return hex_of(digest_of(canonical_json(question)))[:32]


def _signed_indexes(sources: Sequence[LockedSource]) -> dict[str, bytes] | None:
    """Every archive's InRelease as it is now; None when one has none or does not answer."""
    urls = [f"{source.url}/dists/{source.suite}/InRelease" for source in sources]
    with (
        httpx2.Client(timeout=TIMEOUT, follow_redirects=True) as http,
        ThreadPoolExecutor(len(urls), "inrelease") as threads,
    ):
        answers = list(threads.map(lambda url: _get(http, url), urls))
    found = {url: text for url, text in zip(urls, answers, strict=True) if text is not None}
    return found if len(found) == len(urls) else None


def _get(http: httpx2.Client, url: str) -> bytes | None:
    try:
        answer = http.get(url)
    except httpx2.HTTPError:
        return None
    return answer.content if answer.status_code == 200 else None


def _expired(releases: Iterable[bytes]) -> bool:
    now = datetime.now(UTC)
    for text in releases:
        match = _VALID_UNTIL.search(text)
        if match and email.utils.parsedate_to_datetime(match[1].decode().strip()) < now:
            return True
    return False


def _hashes(releases: dict[str, bytes]) -> dict[str, str]:
    return {url: _sha256(text) for url, text in releases.items()}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
