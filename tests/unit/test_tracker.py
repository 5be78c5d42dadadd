import json
from pathlib import Path
from typing import Any

import pytest

from fleetwide.baseos.tracker import tracker_findings
from fleetwide.errors import InvalidInput, NotFound
from fleetwide.models.os_reports import FindingState
from fleetwide.providers.fixes import read_tracker
from tests.unit.locked import package


def state(status: str, fixed: str | None = None, **more: str) -> dict[str, Any]:
    fixed_version = {} if fixed is None else {"fixed_version": fixed}
    return {"status": status, "repositories": {"bookworm": "3.0.9-1"}, **fixed_version, **more}


def issue(**releases: dict[str, Any]) -> dict[str, Any]:
    return {"description": "...", "scope": "remote", "releases": releases}


TRACKER = {
    "glibc": {"CVE-2010-4756": issue(bookworm=state("open", urgency="unimportant", nodsa="Minor"))},
    "openssl": {
        "CVE-2024-5535": issue(
            bookworm=state("resolved", "3.0.15-1~deb12u1", urgency="not yet assigned"),
            trixie=state("resolved", "3.3.2-1"),
        ),
        "CVE-2023-0464": issue(bookworm=state("resolved", "3.0.9-1")),
        "CVE-1999-0001": issue(bookworm=state("resolved", "0")),
        "CVE-2026-0001": issue(bookworm=state("undetermined")),
        "TEMP-0000000-ABCDEF": issue(sid=state("open")),
    },
    "zlib": {"CVE-2022-37434": issue(bookworm=state("open"))},
}
INSTALLED = [
    package("libssl3", "3.0.9-1+b1", Source="openssl (3.0.9-1)"),
    package("libc6", "2.36-9", Source="glibc"),
    package("bash", "5.2"),
]


def test_the_issues_of_what_is_installed_are_told() -> None:
    findings = tracker_findings(TRACKER, "bookworm", INSTALLED)
    assert [(one.package, one.cve, one.state, one.fixed_in, one.urgency) for one in findings] == [
        ("libc6", "CVE-2010-4756", FindingState.OPEN, None, "unimportant"),
        ("libssl3", "CVE-2024-5535", FindingState.FIXABLE, "3.0.15-1~deb12u1", "not yet assigned"),
        ("libssl3", "CVE-2026-0001", FindingState.UNDETERMINED, None, ""),
    ]
    assert {(one.source, one.installed) for one in findings if one.package == "libssl3"} == {
        ("openssl", "3.0.9-1")
    }


def test_another_suite_has_other_issues() -> None:
    findings = tracker_findings(TRACKER, "trixie", INSTALLED)
    assert [one.fixed_in for one in findings] == ["3.3.2-1"]
    assert tracker_findings(TRACKER, "nowhere", INSTALLED) == []


@pytest.mark.parametrize(
    ("openssl", "place"),
    [
        ("x", "tracker.openssl"),
        ({"CVE-1": []}, "tracker.openssl.CVE-1"),
        ({"CVE-1": {}}, "tracker.openssl.CVE-1.releases"),
        (
            {"CVE-1": {"releases": {"bookworm": {}}}},
            "tracker.openssl.CVE-1.releases.bookworm.status",
        ),
        (
            {"CVE-1": issue(bookworm={"status": "open", "fixed_version": 3})},
            "tracker.openssl.CVE-1.releases.bookworm.fixed_version",
        ),
    ],
)
def test_what_the_tracker_does_not_write_is_named_by_its_place(openssl: Any, place: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        tracker_findings({"openssl": openssl}, "bookworm", INSTALLED)
    assert [fault.field for fault in caught.value.fields] == [place]


@pytest.mark.parametrize("indent", [None, 1])
def test_only_the_sources_asked_for_are_kept(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "tracker.json"
    path.write_text(json.dumps(TRACKER, indent=indent) + "\n")
    assert read_tracker(path, {"openssl", "bash"}) == {"openssl": TRACKER["openssl"]}


def test_an_empty_tracker_has_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tracker.json"
    path.write_text(" { } ")
    assert read_tracker(path, {"openssl"}) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b'{"a"}',
        b'{"a": 1,}',
        b'{"a": 1 "b": 2}',
        b'{"a": nope}',
        b'{"a": 1} x',
        b"{} x",
        b"{1: 2}",
        b'{"a": ' + b"[" * 100_000,
        b'{"\xff": 1}',
    ],
)
def test_a_file_that_is_no_json_object_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)  # a message shows only the start of a long path
    path = Path("tracker.json")
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"no security tracker file.*tracker\.json"):
        read_tracker(path, {"a"})


def test_a_missing_file_is_told_as_that(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(NotFound, match="no security tracker file"):
            read_tracker(path, {"a"})
