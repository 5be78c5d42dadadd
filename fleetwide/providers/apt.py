"""Ask a distribution's archives by apt, in a folder of one's own: nothing of this machine's apt.

Signatures, checksums and expiry dates of the archives are checked by apt itself.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from fleetwide.bakery.apt_words import Download, parse_downloads
from fleetwide.baseos.control_files import paragraphs
from fleetwide.baseos.locks import Chosen, parse_solution, parse_uris
from fleetwide.baseos.suites import is_archived, source_line
from fleetwide.errors import BuildFailed, InvalidInput, PlatformError
from fleetwide.models.baseos import Architecture
from fleetwide.models.os_locks import LockedSource
from fleetwide.providers.file_locks import locked
from fleetwide.providers.progress import Progress
from fleetwide.providers.sandbox import Finished, run_isolated

TOLD_LINES = 8
_CONFIG = """
Dir "{folder}/";
Dir::Etc "{folder}/etc";
Dir::Etc::main "none";
Dir::Etc::parts "none.d";
Dir::Etc::sourcelist "{folder}/etc/sources.list";
Dir::Etc::sourceparts "none.d";
Dir::Etc::trusted "none";
Dir::Etc::trustedparts "none.d";
Dir::Etc::netrc "none";
Dir::Etc::netrcparts "none.d";
Dir::Etc::preferences "{folder}/etc/preferences";
Dir::Etc::preferencesparts "none.d";
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Log "{folder}/log";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Get::AllowUnauthenticated "false";
Acquire::Languages "none";
# apt counts itself as essential, which mmdebstrap does not: only the archive's word counts.
pkgCacheGen::ForceEssential ",";
Acquire::Retries "2";
Acquire::ForceHash "SHA256";
{more}
"""
_UPDATE_OPTIONS = ("-o", "APT::Update::Error-Mode=any", "-o", "pkgCacheFile::Generate=false")
_MISSING = re.compile(r"^E: Unable to locate package (\S+)|^E: Package '(\S+)' has no installation")
_BAD_SUITE = re.compile(r"'(\S+) (\S+) Release' does not have a Release file")


class Unsolvable(BuildFailed):
    """The packages cannot be installed together; ``output`` is all that apt said."""

    def __init__(self, output: str) -> None:
        words = "\n".join(output.splitlines()[-TOLD_LINES:])
        super().__init__(
            f"the packages cannot be installed together:\n{words}",
            hint="look at packages and exclude",
        )
        self.output = output


class AptArchive:
    """The archives of some suites for one architecture; made in ``folder``, which may be kept.

    One process at a time works in a folder: use ``with archive.held(progress)``.
    """

    def __init__(
        self, folder: Path, architecture: Architecture, sources: Sequence[LockedSource]
    ) -> None:
        self._folder = folder.absolute()
        self._architecture = architecture
        self._sources = sources

    @contextmanager
    def held(self, progress: Progress, status: str = "") -> Iterator[None]:
        """Lay the folder out and keep other processes from it.

        ``status`` is dpkg's status file of the system that is asked for: what is installed there.
        """
        for name in ("etc/none.d", "state/lists/partial", "cache/archives/partial", "log"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        with locked(self._folder / "lock", progress, "waiting for another question to apt"):
            _keep(self._folder / "status", status)
            lines = "".join(f"{source_line(source)}\n" for source in self._sources)
            _keep(self._folder / "etc/sources.list", lines)
            expired = any(is_archived(source.suite) for source in self._sources)
            config = _CONFIG.format(
                folder=self._folder,
                architecture=self._architecture,
                more='Acquire::Check-Valid-Until "false";' if expired else "",
            )
            (self._folder / "apt.conf").write_text(config)
            self.exclude([])
            yield

    def exclude(self, names: Sequence[str]) -> None:
        """Keep these packages out of every solution."""
        pins = [f"Package: {name}\nPin: release *\nPin-Priority: -1\n" for name in names]
        (self._folder / "etc/preferences").write_text("\n".join(pins))

    def hold(self, versions: Mapping[str, str]) -> None:
        """Let every solution leave these installed packages as they are: name to version."""
        pins = [
            f"Package: {name}\nPin: version {version}\nPin-Priority: 1001\n"
            for name, version in versions.items()
        ]
        (self._folder / "etc/preferences").write_text("\n".join(pins))

    def update(self, progress: Progress) -> None:
        """Read the indexes anew.

        Raises:
            InvalidInput: an archive has no such suite.
            PlatformError: an archive does not answer, or its signature or checksum is wrong.
        """
        finished = run_isolated(
            # The first question makes the cache of the index, and knows then what goes into it.
            ["apt-get", "update", *_UPDATE_OPTIONS],
            env=self._env(),
            progress=progress,
            read=lambda _line: ("reading the package index", None),
        )
        if finished.returncode != 0:
            raise self._update_failure(finished)

    def _update_failure(self, finished: Finished) -> InvalidInput | PlatformError:
        output = "\n".join(finished.lines)
        bad = _BAD_SUITE.search(output)
        # A mirror that does not answer at all also has "no Release file": look at the reason.
        if bad and re.search(r"(?m)^\s*404\s", output):
            return InvalidInput.for_field(
                "suite",
                f"{bad[1]} has no such suite",
                given=bad[2],
                hint=f"curl -s {bad[1]}/dists/",
            )
        errors = [line for line in finished.lines if line.startswith("E: ")]
        words = "\n".join((errors or finished.lines)[-TOLD_LINES:])
        return PlatformError(
            f"the package index could not be read:\n{words}",
            hint=f"from the builder: curl -sI {self._sources[0].url}/dists/",
        )

    def solve(self, wanted: Sequence[str]) -> list[Chosen]:
        """What an installation of ``wanted`` would install that is not installed yet.

        ``wanted`` are names, patterns, and absolute paths of .deb files. No installed package is
        removed.

        Raises:
            InvalidInput: a package does not exist; names the nearest.
            Unsolvable: the packages cannot be installed together; keeps apt's words.
        """
        done = self._run("apt-get", "--simulate", "--no-remove", "install", *wanted)
        if done.returncode == 0:
            return parse_solution(done.stdout)
        missing = [
            match[1] or match[2]
            for line in done.stderr.splitlines()
            if (match := _MISSING.match(line))
        ]
        if missing:
            raise self._unknown_package(missing)
        raise Unsolvable(done.stdout + done.stderr)

    def downloads(self, wanted: Sequence[str]) -> list[Download]:
        """What an installation of ``wanted`` would fetch, in one question; raises as ``solve``."""
        done = self._run("apt-get", "--yes", "--print-uris", "--no-remove", "install", *wanted)
        if done.returncode == 0:
            return parse_downloads(done.stdout)
        self.solve(wanted)
        raise PlatformError(f"apt-get could not tell what to fetch:\n{_last(done.stderr)}")

    def _unknown_package(self, missing: Sequence[str]) -> InvalidInput:
        known = self.names()
        faults = []
        hint = None
        for name in missing:
            near = get_close_matches(name, known, n=1, cutoff=0.7)
            faults.append(
                f"{name} is in none of the suites" + (f" (nearest: {near[0]})" if near else "")
            )
            hint = hint or (f"packages: [{near[0]}]" if near else None)
        return InvalidInput.for_field("packages", "; ".join(faults), given=list(missing), hint=hint)

    def names(self) -> set[str]:
        """Every package name that the archives have."""
        return set(self._must("apt-cache", "pkgnames").split())

    def versions(self, name: str) -> list[str]:
        """The versions that the archives have of a package; none where they do not have it."""
        done = self._run("apt-cache", "madison", name)
        return [line.split("|")[1].strip() for line in done.stdout.splitlines() if "|" in line]

    def newest(self) -> list[str]:
        """The paragraph of every package's newest version."""
        return list(paragraphs(self._must("apt-cache", "dumpavail")))

    def stanzas(self, chosen: Sequence[Chosen]) -> list[str]:
        """The index paragraphs of the packages, unchanged."""
        text = self._must("apt-cache", "show", *(one.selector for one in chosen))
        return list(paragraphs(text))

    def urls(self, chosen: Sequence[Chosen]) -> dict[str, str]:
        """SHA-256 to URL of the packages."""
        selectors = (one.selector for one in chosen)
        return parse_uris(self._must("apt-get", "download", "--print-uris", *selectors))

    def _must(self, *command: str) -> str:
        done = self._run(*command)
        if done.returncode != 0:
            raise PlatformError(f"{' '.join(command[:3])} failed:\n{_last(done.stderr)}")
        return done.stdout

    def _run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=self._folder,
            env=self._env(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def _env(self) -> dict[str, str]:
        # No locale or home of the worker's leaks in, except how to reach the network.
        proxies = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy")}
        return {
            **proxies,
            "APT_CONFIG": str(self._folder / "apt.conf"),
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
        }


def _last(output: str) -> str:
    return "\n".join(output.splitlines()[-TOLD_LINES:])


def _keep(path: Path, text: str) -> None:
    """Write a file unless it says so already: apt's cache is older than any change."""
    data = text.encode(errors="surrogateescape")
    if not path.is_file() or path.read_bytes() != data:
        path.write_bytes(data)
