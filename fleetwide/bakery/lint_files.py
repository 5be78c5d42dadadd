"""Rules over the files of a bake's own layer."""

import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase

from fleetwide.bakery.lint_subject import Found, LintSubject
from fleetwide.bakery.rebase import is_app_path
from fleetwide.baseos.checks import (
    Entry,
    check_device_nodes,
    check_setuid,
    check_world_writable,
    shown,
)
from fleetwide.models.os_releases import CheckResult
from fleetwide.models.policy import BakeryPolicy

_SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH
_LOGS = "var/log/"
_TIME_ZONE_FILES = ("etc/localtime", "etc/timezone")
# The folder of a package manager's downloads, wherever a home may lie.
_CACHES = re.compile(
    r"(var/cache/(?:apt|apk|dnf|yum)|var/lib/apt/lists"
    r"|(?:.*/)?\.cache/(?:pip|uv|yarn|go-build)|(?:.*/)?\.npm/_cacache|(?:.*/)?\.m2/repository"
    r"|(?:.*/)?\.cargo/registry|(?:.*/)?\.gradle/caches|(?:.*/)?go/pkg/mod/cache)/."
)
_WAS_SEEN = re.compile(r"^line \d+ ")


def setuid(subject: LintSubject, policy: BakeryPolicy) -> Iterator[Found]:
    return _checked(subject, lambda entry: check_setuid([entry], policy.setuid_allowed))


def world_writable(subject: LintSubject, _policy: BakeryPolicy) -> Iterator[Found]:
    return _checked(subject, lambda entry: check_world_writable([entry]))


def device_node(subject: LintSubject, _policy: BakeryPolicy) -> Iterator[Found]:
    return _checked(subject, lambda entry: check_device_nodes([entry]))


def _checked(subject: LintSubject, check: Callable[[Entry], CheckResult]) -> Iterator[Found]:
    for entry in filter(_is_special, subject.entries):
        for sentence in check(entry).found:
            where = shown(entry.path)
            yield Found(where, sentence.removeprefix(f"{where} "))


def _is_special(entry: Entry) -> bool:
    """Whether one of the checks may object; most files of an image are plain."""
    if stat.S_ISREG(entry.mode) or stat.S_ISDIR(entry.mode):
        return bool(entry.mode & _SPECIAL_BITS)
    return not stat.S_ISLNK(entry.mode)


def secret_files(subject: LintSubject) -> Iterator[Found]:
    """The line is part of the place; the secret itself is nowhere told."""
    for leak in subject.leaks:
        line = _WAS_SEEN.match(leak.sentence)
        place = f":{line[0].split()[1]}" if line else ""
        yield Found(f"{shown(leak.path)}{place}", _WAS_SEEN.sub("", leak.sentence))


def log_file(subject: LintSubject, _policy: BakeryPolicy) -> Iterator[Found]:
    for entry in subject.entries:
        if entry.path.startswith(_LOGS) and stat.S_ISREG(entry.mode):
            yield Found(shown(entry.path), f"is a log of {entry.size} bytes")


def time_zone_files(subject: LintSubject) -> Iterator[Found]:
    for entry in subject.entries:
        if entry.path in _TIME_ZONE_FILES:
            yield Found(shown(entry.path), "is changed, which sets the image's time zone")


def package_cache(subject: LintSubject, _policy: BakeryPolicy) -> Iterator[Found]:
    """One finding per cache, however many files lie in it."""
    sizes: Counter[str] = Counter()
    for entry in subject.entries:
        match = _CACHES.match(entry.path) if stat.S_ISREG(entry.mode) else None
        if match:
            sizes[match[1]] += entry.size
    for folder, size in sorted(sizes.items()):
        yield Found(shown(folder), f"is a package manager's cache of {size} bytes")


def outside_app_folders(subject: LintSubject, _policy: BakeryPolicy) -> Iterator[Found]:
    """One finding for all: debs put everything there."""
    outside = [
        entry.path
        for entry in subject.entries
        if not stat.S_ISDIR(entry.mode) and not is_app_path(entry.path, subject.spec.name)
    ]
    if outside:
        others = f", as do {len(outside) - 1} more" if len(outside) > 1 else ""
        yield Found(shown(min(outside)), f"lies outside the application's folders{others}")


def debug_tool(subject: LintSubject, policy: BakeryPolicy) -> Iterator[Found]:
    asked = set(subject.spec.packages)
    for name in sorted({*subject.packages, *asked}):
        if any(fnmatchcase(name, pattern) for pattern in policy.debug_packages):
            yield Found("packages" if name in asked else "artifacts", f"{name} is installed")
