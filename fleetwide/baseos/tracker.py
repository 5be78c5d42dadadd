"""What Debian's security tracker knows about installed packages.

The tracker's JSON export is an object of source packages, each an object of issues, each with the
state in every suite: https://security-tracker.debian.org/tracker/data/json
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fleetwide.baseos.debversions import compare_versions
from fleetwide.baseos.stanzas import source_of
from fleetwide.errors import InvalidInput
from fleetwide.models.base import Record
from fleetwide.models.os_locks import LockedPackage
from fleetwide.models.os_reports import FindingState, TrackerFinding

FIELD = "tracker"
NOT_AFFECTED = "0"
"""The tracker's fixed version of an issue that a suite never had."""


class _State(Record):
    status: str
    fixed_version: str | None = None
    urgency: str = ""


class _Issue(Record):
    releases: dict[str, _State]


_ISSUES = TypeAdapter(dict[str, _Issue])


def tracker_findings(
    tracker: Mapping[str, Any], suite: str, installed: Iterable[LockedPackage]
) -> list[TrackerFinding]:
    """The issues of ``installed`` in ``suite``, ordered by package and issue.

    ``tracker`` needs to hold only the source packages of ``installed``.

    Raises:
        InvalidInput: ``tracker`` is not shaped as the tracker's export; the field names the place.
    """
    parsed: dict[str, dict[str, _Issue]] = {}
    found: list[TrackerFinding] = []
    for package in sorted(installed, key=lambda package: package.name):
        source, _ = source_of(package)
        if source not in parsed:
            parsed[source] = _issues(tracker.get(source, {}), source)
        found += _findings(package, suite, parsed[source])
    return found


def _issues(given: Any, source: str) -> dict[str, _Issue]:
    try:
        return _ISSUES.validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in (FIELD, source, *first["loc"]))
        raise InvalidInput.for_field(
            place,
            "is not what the security tracker writes there",
            given=first["input"],
            hint="https://security-tracker.debian.org/tracker/data/json",
        ) from error


def _findings(
    package: LockedPackage, suite: str, issues: dict[str, _Issue]
) -> Iterator[TrackerFinding]:
    source, version = source_of(package)
    for name, issue in sorted(issues.items()):
        state = issue.releases.get(suite)
        verdict = _verdict(state, version) if state else None
        if state is not None and verdict is not None:
            yield TrackerFinding(
                package=package.name,
                source=source,
                installed=version,
                cve=name,
                state=verdict,
                fixed_in=state.fixed_version if verdict is FindingState.FIXABLE else None,
                urgency=state.urgency,
            )


def _verdict(state: _State, version: str) -> FindingState | None:
    """None when the installed version does not have the issue."""
    if state.status in (FindingState.OPEN, FindingState.UNDETERMINED):
        return FindingState(state.status)
    fixed = state.fixed_version
    if fixed is None or fixed == NOT_AFFECTED or compare_versions(version, fixed) >= 0:
        return None
    return FindingState.FIXABLE
