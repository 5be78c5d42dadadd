"""Payloads on real folders: what is read of them, and of the base below."""

import os
from pathlib import Path
from typing import Any

import pytest

from fleetwide.bakery.lint_subject import LintSubject
from fleetwide.bakery.programs import Program
from fleetwide.errors import PolicyRefused
from fleetwide.models.bakes import Severity
from fleetwide.models.policy import BakeryPolicy
from fleetwide.providers.image_view import ImageView
from fleetwide.providers.layers import LayerEntry, tree_entries
from fleetwide.providers.lint_payload import check_payload, read_subject
from fleetwide.providers.payloads import Payload
from tests.unit.bakes import resolved

TOKEN = "ghp_" + "a" * 36
EPOCH = 1_000_000_000


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A root with /bin as a link, a shell, Python and two accounts."""
    root = tmp_path / "base"
    (root / "usr/bin").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "bin").symlink_to("usr/bin")
    for name in ("sh", "python3.11"):
        (root / "usr/bin" / name).write_bytes(b"\x7fELF")
        (root / "usr/bin" / name).chmod(0o755)
    (root / "usr/bin/python3").symlink_to("python3.11")
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nweb:x:10:20::/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nweb:x:20:\n")
    return root


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    folder = tmp_path / "staging"
    (folder / "opt/hello").mkdir(parents=True)
    return folder


def script(path: Path, first: str, mode: int = 0o755) -> None:
    path.write_text(f"{first}\necho hello\n")
    path.chmod(mode)


def deletion(path: str) -> LayerEntry:
    return LayerEntry(path, None)


def looked_at(
    base: Path, staging: Path, *deleted: str, packages: dict[str, str] | None = None, **spec: Any
) -> LintSubject:
    entries = [*tree_entries(staging, EPOCH), *map(deletion, deleted)]
    return read_subject(resolved(**spec), Payload(entries, packages or {}), base)


def program(base: Path, staging: Path, *deleted: str, **spec: Any) -> Program:
    found = looked_at(base, staging, *deleted, **spec).program
    assert found is not None
    return found


def test_entries_leaks_and_packages_are_those_of_the_payload(base: Path, staging: Path) -> None:
    (staging / "opt/hello/settings").write_text(f"a\ntoken: {TOKEN}\n")
    (staging / "opt/hello/link").symlink_to("settings")
    subject = looked_at(base, staging, "opt/.wh.old", packages={"tool": "1"})
    assert {one.path: one.size for one in subject.entries} == {
        "opt": 0,
        "opt/hello": 0,
        "opt/hello/settings": 50,
        "opt/hello/link": 0,
    }
    assert subject.leaks == [("opt/hello/settings", "line 2 holds a GitHub token")]
    assert subject.packages == {"tool": "1"}
    assert subject.today is not None


def test_a_program_of_the_payload_is_found_with_its_interpreter(base: Path, staging: Path) -> None:
    script(staging / "opt/hello/run", "#!/bin/sh -e")
    assert program(base, staging) == Program("/opt/hello/run", "opt/hello/run")


def test_a_program_of_the_base_is_found_by_its_bare_name(base: Path, staging: Path) -> None:
    found = program(base, staging, entrypoint=["python3"])
    assert (found.path, found.obstacle) == ("usr/bin/python3.11", "")
    found = program(base, staging, entrypoint=["run"], env={"PATH": "/opt/hello"})
    assert found.path == ""


def test_a_script_whose_interpreter_is_in_neither_is_told(base: Path, staging: Path) -> None:
    script(staging / "opt/hello/run", "#!/usr/bin/ruby")
    found = program(base, staging)
    assert (found.path, found.missing_interpreter) == ("opt/hello/run", "/usr/bin/ruby")
    script(staging / "opt/hello/run", "#!/usr/bin/env ruby")
    assert program(base, staging).missing_interpreter == "/usr/bin/env"
    (base / "usr/bin/env").write_bytes(b"\x7fELF")
    assert program(base, staging).missing_interpreter == "ruby"
    script(staging / "opt/hello/run", "#!/usr/bin/env python3")
    assert program(base, staging).missing_interpreter == ""


def test_what_the_layer_deletes_is_not_there(base: Path, staging: Path) -> None:
    for deleted in ("usr/bin/.wh.python3.11", "usr/.wh.bin", ".wh.usr", "usr/bin/.wh..wh..opq"):
        assert program(base, staging, deleted, entrypoint=["python3"]).path == ""


def test_a_file_in_an_emptied_folder_is_there_when_the_layer_brings_it(
    base: Path, staging: Path
) -> None:
    (staging / "usr/bin").mkdir(parents=True)
    script(staging / "usr/bin/mine", "#!/usr/bin/mine")
    found = program(base, staging, "usr/bin/.wh..wh..opq", entrypoint=["/bin/mine"])
    assert (found.path, found.missing_interpreter) == ("usr/bin/mine", "")


def test_the_user_of_the_image_must_be_able_to_run_it(base: Path, staging: Path) -> None:
    script(staging / "opt/hello/run", "#!/bin/sh", 0o644)
    assert program(base, staging).obstacle == "may not execute /opt/hello/run"
    (staging / "opt/hello/run").chmod(0o711)
    assert program(base, staging).obstacle == "may not read /opt/hello/run, which is a script"
    assert program(base, staging, user="root").obstacle == ""
    (staging / "opt/hello").chmod(0o700)
    assert program(base, staging, user="web").obstacle == "may not enter /opt/hello"
    assert program(base, staging, user="nobody").obstacle == "is not known to the image"


def test_an_account_that_the_payload_brings_is_known(base: Path, staging: Path) -> None:
    script(staging / "opt/hello/run", "#!/bin/sh", 0o750)
    os.chown(staging / "opt/hello/run", 30, 30)
    (staging / "etc").mkdir()
    (staging / "etc/passwd").write_text("mine:x:30:30::/:/bin/sh\n")
    assert program(base, staging, user="mine").obstacle == ""
    assert program(base, staging, user="65534:65534").obstacle.startswith("may not execute")


def test_links_lead_nowhere_on_the_builder(base: Path, staging: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    script(outside / "run", "#!/bin/sh")
    (base / "escape").symlink_to(outside)
    (staging / "opt/hello/run").symlink_to(outside / "run")
    assert program(base, staging).path == ""
    (staging / "escape").mkdir()
    assert program(base, staging, command=["/escape/run"]).path == ""
    view = ImageView(tree_entries(staging, EPOCH), base)
    assert view.look("escape/run") is None
    assert view.read("escape/run", 10) == b""
    assert view.read("opt/hello", 10) == b""
    assert view.read("bin/sh", 10) == b"\x7fELF"


def test_nothing_to_start_is_no_program(base: Path, staging: Path) -> None:
    assert looked_at(base, staging, command=[]).program is None


def test_a_payload_that_the_policy_refuses_is_refused_with_all_its_places(
    base: Path, staging: Path
) -> None:
    script(staging / "opt/hello/run", "#!/bin/sh", 0o4755)
    (staging / "opt/hello/settings").write_text(TOKEN)
    payload = Payload(tree_entries(staging, EPOCH))
    with pytest.raises(PolicyRefused) as caught:
        check_payload(resolved(), payload, base, 100, BakeryPolicy())
    told = caught.value.message
    assert "setuid: /opt/hello/run: is setuid (mode 4755)" in told
    assert "secret: /opt/hello/settings:1: holds a GitHub token" in told
    assert TOKEN not in told
    lenient = BakeryPolicy.model_validate({"rules": {"setuid": "warn", "secret": "off"}})
    findings = check_payload(resolved(), payload, base, 100, lenient)
    assert {one.severity for one in findings} == {Severity.WARN}
    assert "setuid" in {one.rule for one in findings}


def test_looking_for_secrets_can_be_cancelled(base: Path, staging: Path) -> None:
    def cancel(_phrase: str, _fraction: float | None) -> None:
        raise KeyboardInterrupt

    entries = tree_entries(staging, EPOCH)
    with pytest.raises(KeyboardInterrupt):
        read_subject(resolved(), Payload(entries), base, cancel)
