"""Finding a program in a tree of facts, as the kernel would."""

import stat

import pytest

from fleetwide.bakery.container_users import ContainerUser
from fleetwide.bakery.programs import (
    Node,
    candidates,
    find_file,
    interpreters,
    obstacle,
    resolved,
)

FILE, FOLDER, LINK = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK
TREE = {
    "bin": Node(LINK | 0o777, link="usr/bin"),
    "usr": Node(FOLDER | 0o755),
    "usr/bin": Node(FOLDER | 0o755),
    "usr/bin/python3": Node(LINK | 0o777, link="python3.11"),
    "usr/bin/python3.11": Node(FILE | 0o755),
    "usr/bin/out": Node(LINK | 0o777, link="../../../../bin/python3"),
    "usr/bin/top": Node(LINK | 0o777, link="/usr/bin/python3.11"),
    "usr/bin/a": Node(LINK | 0o777, link="b"),
    "usr/bin/b": Node(LINK | 0o777, link="a"),
    "usr/bin/gone": Node(LINK | 0o777, link="nowhere"),
    "opt": Node(FOLDER | 0o700),
    "opt/run": Node(FILE | 0o755),
    "srv": Node(FOLDER | 0o750, gid=7),
    "srv/script": Node(FILE | 0o711, uid=5),
    "srv/data": Node(FILE | 0o644),
}
NOBODY = ContainerUser(65534, 65534)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/bin/python3", "usr/bin/python3.11"),
        ("/usr/bin/out", "usr/bin/python3.11"),
        ("usr/bin/top", "usr/bin/python3.11"),
        ("/usr/./bin/../bin//python3.11", "usr/bin/python3.11"),
        ("/../../bin", "usr/bin"),
        ("/", ""),
        ("/usr/bin/a", None),
        ("/usr/bin/gone", None),
        ("/usr/bin/python3.11/x", None),
        ("/lib/x", None),
    ],
)
def test_links_are_followed_inside_the_tree(path: str, found: str | None) -> None:
    assert resolved(path, TREE.get) == found


def test_a_bare_word_is_looked_for_in_the_search_path_of_the_workload() -> None:
    assert candidates("run", "/srv", {"PATH": "/opt:bin:"}) == [
        "/opt/run",
        "/srv/bin/run",
        "/srv/run",
    ]
    assert "/usr/bin/python3" in candidates("python3", "/", {})
    assert candidates("./run", "/opt", {}) == ["/opt/./run"]
    assert candidates("/opt/run", "/srv", {}) == ["/opt/run"]


def test_only_files_are_programs() -> None:
    assert find_file(["/usr", "/usr/bin/gone", "/bin/python3"], TREE.get) == "usr/bin/python3.11"
    assert find_file(["/usr"], TREE.get) is None


@pytest.mark.parametrize(
    ("start", "named"),
    [
        (b"#!/bin/sh\necho", ["/bin/sh"]),
        (b"#!/bin/sh -e\n", ["/bin/sh"]),
        (b"#! /usr/bin/env python3\n", ["/usr/bin/env", "python3"]),
        (b"#!/usr/bin/env -S node --quiet\n", ["/usr/bin/env", "node"]),
        (b"#!/usr/bin/env -i\n", ["/usr/bin/env"]),
        (b"#!/usr/bin/env\npython3", ["/usr/bin/env"]),
        (b"\x7fELF", []),
        (b"#!\n", []),
        (b"", []),
    ],
)
def test_a_script_names_its_interpreter(start: bytes, named: list[str]) -> None:
    assert interpreters(start) == named


@pytest.mark.parametrize(
    ("path", "user", "script", "why"),
    [
        ("usr/bin/python3.11", NOBODY, True, ""),
        ("opt/run", NOBODY, False, "may not enter /opt"),
        ("opt/run", ContainerUser(0, 0), True, ""),
        ("srv/script", NOBODY, False, "may not enter /srv"),
        ("srv/script", ContainerUser(9, 7), False, ""),
        (
            "srv/script",
            ContainerUser(9, 1, [7]),
            True,
            "may not read /srv/script, which is a script",
        ),
        ("srv/script", ContainerUser(5, 7), True, ""),
        ("srv/data", ContainerUser(9, 7), False, "may not execute /srv/data"),
        ("srv/data", ContainerUser(0, 0), False, "may not execute /srv/data"),
    ],
)
def test_the_user_needs_the_bits_on_the_whole_way(
    path: str, user: ContainerUser, script: bool, why: str
) -> None:
    assert obstacle(path, user, TREE.get, script=script) == why
