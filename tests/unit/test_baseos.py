"""Versions, plans, the bootstrap's command, and the container base's documents."""

import json
from dataclasses import replace
from datetime import date

import pytest
from pydantic import ValidationError

from fleetwide.baseos.bootstrap import (
    Bootstrap,
    mmdebstrap_command,
    read_progress,
    trim_config,
    variant_of,
)
from fleetwide.baseos.images import base_image, base_metadata
from fleetwide.baseos.plans import make_plan
from fleetwide.baseos.versions import next_version
from fleetwide.models.base import Layer
from fleetwide.models.baseos import Architecture, Face, Trim
from tests.unit.locked import DIGEST
from tests.unit.os_plans import locked, plan, spec_of

LAYER = Layer(digest="sha256:" + "1" * 64, diff_id="sha256:" + "2" * 64, size=1)
RUN = Bootstrap(
    variant="minbase",
    architecture=Architecture.AMD64,
    suite="bookworm",
    include=["dash", "vim"],
    merged_usr=False,
    trim=[],
    mirror="/mirror",
    target="/tree",
)


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        ([], "20261122.1"),
        (["20261122.1", "20261122.9", "20261122.10"], "20261122.11"),
        (["20261121.4", "1.0", "20261122.x", "20261122.01"], "20261122.1"),
    ],
)
def test_the_next_version_counts_within_the_day(existing: list[str], expected: str) -> None:
    assert next_version(existing, date(2026, 11, 22)) == expected


def test_a_plan_says_where_the_image_goes_and_what_came_before() -> None:
    made = make_plan(spec_of(), "1.0+b1", "w", "0.9")
    assert (made.repository, made.tag, made.parent) == ("baseos/baseos", "1.0_b1", "0.9")


def test_the_only_archive_is_the_private_one() -> None:
    command = mmdebstrap_command(RUN)
    assert command[-3:] == ["bookworm", "/tree", "deb [trusted=yes] copy:/mirror bookworm main"]
    assert "--include=dash,vim" in command
    assert "--mode=root" in command


def test_without_packages_there_is_no_include() -> None:
    bare = mmdebstrap_command(replace(RUN, include=[]))
    assert not [word for word in bare if word.startswith("--include")]


def test_usr_is_merged_before_anything_is_unpacked_where_that_is_asked_for() -> None:
    hooks = [word for word in mmdebstrap_command(RUN) if word.startswith("--setup-hook")]
    assert hooks == []
    [hook] = {*mmdebstrap_command(replace(RUN, merged_usr=True))} - {*mmdebstrap_command(RUN)}
    assert hook.startswith("--setup-hook=")
    assert "merged-usr" in hook


def test_copyright_files_stay_whatever_is_trimmed() -> None:
    lines = trim_config([*Trim]).splitlines()
    docs = lines.index("path-exclude=/usr/share/doc/*")
    assert lines.index("path-include=/usr/share/doc/*/copyright") > docs
    assert trim_config([Trim.MAN, Trim.DOCS]) == trim_config([Trim.DOCS, Trim.MAN])
    assert trim_config([]) == ""


def test_the_tools_are_unpacked_and_the_faces_installed() -> None:
    assert variant_of(spec_of(), Face.TOOLS) == "extract"
    assert variant_of(spec_of(variant="apt"), Face.VM) == "apt"


def test_progress_is_read_off_the_stages_and_grows() -> None:
    lines = [
        "I: running apt-get update...",
        "I: extracting archives...",
        "I: installing remaining packages inside the chroot...",
        "I: cleaning package lists and apt cache...",
    ]
    fractions = [found[1] for line in lines if (found := read_progress(line))]
    assert len(fractions) == len(lines)
    assert fractions == sorted(fractions)
    assert read_progress("Get:1 something") is None


def test_the_base_image_names_its_release_and_its_lock() -> None:
    metadata = base_metadata(locked(plan(parent="20261121.1")))
    assert metadata["fleetwide.os.release"] == "baseos:20261122.1"
    assert metadata["fleetwide.os.parent"] == "baseos:20261121.1"
    assert metadata["fleetwide.os.lock"] == DIGEST
    assert metadata["org.opencontainers.image.created"] == "2026-11-22T00:00:00Z"
    assert "fleetwide.os.parent" not in base_metadata(locked())


def test_who_owns_a_release_is_not_in_its_image() -> None:
    mine, yours = (base_image(locked(plan(owner=owner)), LAYER) for owner in ("me", "you"))
    assert mine == yours
    labels = json.loads(mine.config)["config"]["Labels"]
    assert json.loads(mine.manifest)["annotations"] == labels


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"packages": ["vim", "vim"]}, "repeats vim"),
        ({"vm": {"packages": ["vim"]}, "exclude": ["vim"]}, "vim is asked for"),
        ({"architecture": "arm64", "targets": ["vm"]}, "arm64 has no BIOS"),
        ({"ami": {"regions": ["eu-west-1"]}}, "needs the target vm"),
        ({"files": [{"path": "/proc/x", "content": ""}]}, "/proc is no part of an image"),
        ({"files": [{"path": "/etc/../x", "content": ""}]}, "without empty, . or .. parts"),
        ({"files": [{"path": "/etc/x"}]}, "either content or link"),
        ({"files": [{"path": "/x", "content": "", "mode": "4755"}]}, "mode"),
        ({"users": [{"name": "a", "uid": 5, "authorized_keys": ["ssh-rsa x"]}]}, "need a home"),
        ({"mirror": "http://user:secret@x/debian"}, "mirror"),
        ({"keyring": "/etc/passwd"}, "keyring"),
        ({"scripts": [{"name": f"s{n}", "run": "x" * 50_000} for n in "ab"]}, "the limit is 98304"),
        ({"vm": {"size": "100MiB"}}, "size"),
    ],
)
def test_a_spec_that_cannot_be_built_is_refused(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        spec_of(**wrong)
