import pytest

from fleetwide.bakery.entries import Budget, checked_link, checked_path
from fleetwide.bakery.packages import is_transient
from fleetwide.errors import ArtifactRejected


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../x", "a/../../b", "a/..", "a\\b", "a\nb", ".wh.x", "x" * 1025, "x" * 256],
)
def test_unsafe_paths_are_refused_with_archive_and_entry(name: str) -> None:
    with pytest.raises(ArtifactRejected, match=r"^app\.tar: entry "):
        checked_path(name, "app.tar")


def test_paths_are_normalised() -> None:
    assert checked_path("./a//b/./c/", "app.tar") == "a/b/c"
    assert checked_path("./", "app.tar") == ""


@pytest.mark.parametrize("target", ["/etc/passwd", "/opt/application", "../../x", "..", ""])
def test_links_out_of_the_tree_are_refused(target: str) -> None:
    with pytest.raises(ArtifactRejected, match="outside"):
        checked_link("bin/x" if target != ".." else "x", target, "/opt/app", "app.tar")


def test_links_within_the_tree_are_kept_or_made_relative() -> None:
    assert checked_link("bin/x", "../lib/y", "/opt/app", "a") == "../lib/y"
    assert checked_link("bin/x", "/opt/app/lib/y", "/opt/app", "a") == "../lib/y"
    assert checked_link("x", "/opt/app", "/opt/app", "a") == "."


def test_a_bomb_is_refused_by_entries_and_by_bytes() -> None:
    budget = Budget("a", max_entries=2)
    budget.take("one", 0)
    budget.take("two", 0)
    with pytest.raises(ArtifactRejected, match="'three' has more than 2 entries"):
        budget.take("three", 0)
    with pytest.raises(ArtifactRejected, match="more than 10 bytes unpacked"):
        Budget("a", max_bytes=10).take("big", 11)


@pytest.mark.parametrize(
    ("path", "folder", "expected"),
    [
        ("var/log/dpkg.log", False, True),
        ("var/log/nginx", True, False),
        ("var/lib/dpkg/status-old", False, True),
        ("var/lib/dpkg/status", False, False),
        ("var/cache/ldconfig/aux-cache", False, True),
        ("etc/passwd-", False, True),
        ("etc/passwd", False, False),
        ("run/thing", True, True),
        ("usr/bin/run", False, False),
    ],
)
def test_what_differs_from_run_to_run_is_left_out(path: str, folder: bool, expected: bool) -> None:
    assert is_transient(path, folder=folder) is expected
