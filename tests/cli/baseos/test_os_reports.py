"""``fleetwide os``: what is in releases, what a build would do, what a line does by itself."""

import json
import re

import pytest
import yaml

from fleetwide.models.baseos import Target
from tests.api.baseos.plane import SPDX, OSPlane
from tests.api.harness import wait_until
from tests.cli.baseos.conftest import SpecFile
from tests.cli.conftest import Command


@pytest.fixture
def two(fleetwide: Command, spec_file: SpecFile, line_plane: OSPlane) -> str:
    """A line with the releases 1 and 2, which has other packages."""
    name = "reported"
    if fleetwide("show", name, "2").code == 0:
        return name
    archive = line_plane.builder.archive
    archive.packages[name] = {"base-files": "12", "dash": "0.5", "zlib1g": "1.3"}
    first = fleetwide("build", "-f", spec_file(name, "version: '1'"))
    archive.packages[name] = {"adduser": "3", "dash": "0.6", "zlib1g": "1.2"}
    archive.fixed = {"dash"}
    second = fleetwide("build", "-f", spec_file(name, "version: '2'"))
    assert (first.code, second.code) == (0, 0)
    return name


DIFF = """
changes
  + adduser 3
  - base-files 12
  ~ dash 0.5 -> 0.6 (security)
  ~ zlib1g 1.3 -> 1.2 (downgrade)
"""


def test_a_diff_is_read_as_a_list(fleetwide: Command, two: str) -> None:
    for pair in (["2"], ["1", "2"], ["1", "candidate"]):
        ran = fleetwide("diff", two, *pair)
        assert ran.code == 0, ran.err
        assert ran.out.endswith(DIFF)
        assert "compared with:  1\n" in ran.out
    first = fleetwide("diff", two, "1")
    assert "nothing: it is the line's first release" in first.out
    assert "+ zlib1g 1.3" in first.out
    summary = "1 upgraded (1 security), 1 added, 1 removed, 1 downgraded"
    assert json.loads(fleetwide("diff", two, "2", "-o", "json").out)["summary"] == summary
    assert fleetwide("diff", two, "9").code == 4


def test_a_plan_shows_sources_lock_and_changes(
    fleetwide: Command, two: str, spec_file: SpecFile, line_plane: OSPlane
) -> None:
    same = fleetwide("plan", "-f", spec_file(two))
    assert same.code == 0, same.err
    assert f"build:          would find no change: {two} 2 is the same\n" in same.out
    assert "  http://mirror.example/security bookworm-security main (security)" in same.out
    line_plane.builder.archive.packages[two]["bash"] = "5"
    changed = fleetwide("plan", "-f", spec_file(two))
    assert "build:          would make a new release\n" in changed.out
    assert re.search(r"^lock: +sha256:[0-9a-f]{64}$", changed.out, re.MULTILINE)
    assert changed.out.endswith("changes\n  + bash 5\n")
    del line_plane.builder.archive.packages[two]["bash"]
    assert fleetwide("plan", "-f", spec_file("new"), "-o", "name").out == "new\n"
    assert fleetwide("plan", "-f", spec_file("bad", "suite: bokworm")).code == 3


def test_the_lock_is_listed_or_given_whole(fleetwide: Command, two: str) -> None:
    listed = fleetwide("lock", two, "candidate").out.splitlines()
    assert listed[0].split() == ["PACKAGE", "VERSION", "ARCHITECTURE", "IN", "SECURITY", "SIZE"]
    assert listed[2].split()[:5] == ["dash", "0.6", "amd64", "container,vm", "yes"]
    whole = yaml.safe_load(fleetwide("lock", two, "candidate", "-o", "yaml").out)
    assert [one["name"] for one in whole["packages"]] == ["adduser", "dash", "zlib1g"]
    missing = fleetwide("lock", two)
    assert (missing.code, missing.out) == (4, "")


def test_fixes_are_no_scan(fleetwide: Command, two: str) -> None:
    ran = fleetwide("fixes", two, "candidate")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines() == [
        "PACKAGE  INSTALLED  FIXED IN  URGENCY  CVES",
        "dash     0.5        0.6       high     CVE-2026-1, CVE-2026-2",
    ]
    assert "1 packages have fixes, which name 2 CVEs" in ran.err
    assert "this is not a vulnerability scan" in ran.err
    assert fleetwide("fixes", two, "candidate", "-o", "name").out == "dash\n"
    assert json.loads(fleetwide("fixes", two, "candidate", "-o", "json").out)["version"] == "2"
    assert fleetwide("fixes", two).code == 4


def test_other_bytes_are_exit_code_1(fleetwide: Command, line_plane: OSPlane, two: str) -> None:
    same = fleetwide("reproduce", two, "candidate")
    assert same.code == 0, same.err
    assert "yes: container: the same bytes" in same.out
    line_plane.builder.drifted.add(Target.CONTAINER)
    other = fleetwide("reproduce", two, "candidate", "-o", "json")
    line_plane.builder.drifted.clear()
    assert other.code == 1
    assert json.loads(other.out)["reproduced"] is False
    assert fleetwide("reproduce", two).code == 4


def test_consoles_and_documents_go_to_stdout_alone(
    fleetwide: Command, two: str, spec_file: SpecFile
) -> None:
    assert fleetwide("build", "-f", spec_file("seen", "targets: [vm]", "version: '1'")).code == 0
    console = fleetwide("console", "seen", "1")
    assert (console.out, console.err) == ("Linux version 6.1\nlogin: \n", "")
    unbooted = fleetwide("console", two, "2")
    assert (unbooted.code, "it was not booted" in unbooted.err) == (4, True)
    assert fleetwide("documents", two, "2", "-o", "name").out == "container.spdx.json\n"
    assert fleetwide("documents", two, "2", "container.spdx.json").out.encode() == SPDX
    unknown = fleetwide("documents", two, "2", "sbom.xml")
    assert (unknown.code, unknown.out) == (4, "")
    assert "there are container.spdx.json" in unknown.err


def test_a_schedule_from_set_to_remove(fleetwide: Command, spec_file: SpecFile) -> None:
    spec = spec_file("timed", "owner: ana")
    made = fleetwide("schedule", "set", "-f", spec, "--daily-at", "04:05")
    assert made.code == 0, made.err
    assert "daily:      04:05 UTC\nsecurity:   every 15 min\n" in made.out
    assert "retention:  beyond the newest 10, older than 180 days\n" in made.out
    table = made.out.partition("schedules\n")[2].splitlines()
    assert [row.split()[:2] for row in table[1:]] == [
        ["daily", "active"],
        ["security", "active"],
        ["retention", "active"],
    ]
    paused = fleetwide("schedule", "pause", "timed", "--reason", "freeze", "--by", "bob")
    assert "paused by bob: freeze" in paused.out
    less = ("--no-security", "--no-retention", "-o", "json")
    changed = json.loads(fleetwide("schedule", "set", "-f", spec, *less).out)
    assert (changed["daily_at"], changed["security_minutes"]) == ("03:00", None)
    assert [entry["paused"] for entry in changed["entries"]] == [True]
    assert " active " in fleetwide("schedule", "resume", "timed", "--reason", "over").out
    # The list follows within a moment.
    wait_until(lambda: "timed" in fleetwide("schedule", "list").out, "the line is listed")
    listed = fleetwide("schedule", "list").out
    assert re.search(r"^timed +active +03:00 UTC +- +- ", listed, re.MULTILINE)
    removed = fleetwide("schedule", "remove", "timed")
    assert (removed.code, removed.err) == (0, "timed has no schedule any more\n")
    assert fleetwide("schedule", "show", "timed").code == 4


def test_a_schedule_takes_no_version(fleetwide: Command, spec_file: SpecFile) -> None:
    refused = fleetwide("schedule", "set", "-f", spec_file("fixed", "version: '1'"))
    assert refused.code == 3
    assert "spec.version: must be unset in a schedule" in refused.err
    late = fleetwide("schedule", "set", "-f", spec_file("fixed"), "--daily-at", "4:05")
    assert (late.code, "must be a time of day" in late.err) == (3, True)


def test_retention_says_what_would_go(fleetwide: Command, two: str) -> None:
    ran = fleetwide("retain", two, "--dry-run", "--keep", "1", "--max-age-days", "1")
    assert ran.code == 0, ran.err
    assert ran.out == f"line:          {two}\nwould retire:  none\n"
    assert json.loads(fleetwide("retain", two, "-o", "json").out)["dry_run"] is False
    assert fleetwide("retain", "never").code == 4
    assert fleetwide("retain", two, "--keep", "0").code == 3
