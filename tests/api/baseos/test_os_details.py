"""What is in a release: lock, changes, documents, console, fixes."""

import pytest
from starlette.testclient import TestClient

from tests.api.baseos.plane import SPDX, OSPlane
from tests.api.baseos.requests import RELEASES, build, get, post, problem, result_of
from tests.api.harness import wait_until


@pytest.fixture
def two(os_http: TestClient, line_plane: OSPlane) -> str:
    """A line with two releases; the second has other packages."""
    path = f"{RELEASES}/detailed"
    if not get(os_http, RELEASES, name="detailed")["items"]:
        build(os_http, "detailed", version="1")
        packages = {"base-files": "13", "zlib1g": "1.3"}
        line_plane.builder.archive.packages["detailed"] = packages
        build(os_http, "detailed", version="2")
    return path


def test_the_lock_names_every_package(os_http: TestClient, two: str) -> None:
    lock = get(os_http, f"{two}/candidate/lock")
    named = {one["name"]: one["version"] for one in lock["packages"]}
    assert named == {"base-files": "13", "zlib1g": "1.3"}
    assert lock["sources"][0]["suite"] == "bookworm"


def test_changes_are_told_since_the_parent_or_any_other(os_http: TestClient, two: str) -> None:
    diff = get(os_http, f"{two}/2/diff")
    assert (diff["against"], diff["summary"]) == ("1", "1 upgraded, 1 added, 1 removed")
    assert [one["name"] for one in diff["diff"]["removed"]] == ["dash"]
    back = get(os_http, f"{two}/1/diff", against="candidate")
    assert (back["against"], back["summary"]) == ("2", "1 added, 1 removed, 1 downgraded")
    assert get(os_http, f"{two}/1/diff")["against"] is None
    assert problem(os_http.get(f"{two}/2/diff", params={"against": "9"}), 404)


def test_documents_are_listed_and_given_byte_for_byte(os_http: TestClient, two: str) -> None:
    [entry] = get(os_http, f"{two}/candidate/documents")["items"]
    assert entry["name"] == "container.spdx.json"
    given = os_http.get(entry["links"]["self"])
    assert (given.content, given.headers["content-type"]) == (SPDX, "application/spdx+json")


@pytest.mark.parametrize("name", ["nope.json", "..%2f1%2fcontainer.spdx.json", "%2fetc%2fpasswd"])
def test_only_listed_documents_are_given(os_http: TestClient, two: str, name: str) -> None:
    missing = problem(os_http.get(f"{two}/2/documents/{name}"), 404)
    assert missing["code"] == "NotFound"


def test_the_console_is_plain_text_and_outlives_a_failed_build(os_http: TestClient) -> None:
    boot = {"targets": ["container", "vm"], "version": "1"}
    build(os_http, "booted", **boot)
    build(os_http, "broken", **boot, vm={"cmdline": "panic=1"})
    assert get(os_http, f"{RELEASES}/broken/1")["state"] == "failed"
    for name in ("booted", "broken"):
        console = os_http.get(f"{RELEASES}/{name}/1/console")
        assert console.headers["content-type"].startswith("text/plain")
        assert console.text == "Linux version 6.1\nlogin: \n"


def test_what_is_not_there_is_said(os_http: TestClient, two: str) -> None:
    unbooted = problem(os_http.get(f"{two}/2/console"), 404)
    assert "was not booted" in unbooted["detail"]
    assert "tests.boot" in unbooted["hint"]
    for part in ("lock", "diff", "documents", "console"):
        assert problem(os_http.get(f"{two}/9/{part}"), 404)


def test_a_release_that_has_no_lock_yet_says_so(os_http: TestClient, line_plane: OSPlane) -> None:
    line_plane.builder.stuck_at.add("resolve_lock")
    post(os_http, "/v1/os/builds", {"name": "early", "suite": "bookworm", "version": "1"})
    wait_until(
        lambda: os_http.get(f"{RELEASES}/early/1").status_code == 200, "the version is claimed"
    )
    early = problem(os_http.get(f"{RELEASES}/early/1/lock"), 404)
    assert "has no lock: it is building" in early["detail"]
    line_plane.builder.stuck_at.clear()


def test_a_release_is_built_again_to_compare_its_bytes(os_http: TestClient, two: str) -> None:
    report = result_of(os_http, f"{two}/candidate/reproduction")
    assert (report["version"], report["reproduced"]) == ("2", True)
    assert problem(os_http.post(f"{two}/stable/reproduction"), 404)


def test_published_fixes_of_a_release(os_http: TestClient, two: str) -> None:
    report = result_of(os_http, f"{two}/candidate/fixes")
    assert (report["version"], report["fixes"][0]["fixed_in"]) == ("2", "0.6")
    assert problem(os_http.post(f"{two}/stable/fixes"), 404)
