from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from fleetwide.baseos.bootstrap import (
    FINALISE,
    keyring_of,
    mmdebstrap_command,
    parse_dpkg_status,
    read_progress,
)
from fleetwide.baseos.images import base_image, base_metadata
from fleetwide.baseos.plans import make_plan
from fleetwide.baseos.versions import next_version
from fleetwide.models.base import Layer
from fleetwide.models.baseos import BuildPlan, OSImageSpec

NOW = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)
MIDNIGHT = 1_795_305_600


def plan(**spec: object) -> BuildPlan:
    given = OSImageSpec.model_validate({"name": "baseos", "suite": "bookworm", **spec})
    return make_plan(given, "20261122.1", "os/baseos/20261122.1", NOW)


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


def test_the_epoch_is_the_start_of_the_day_in_utc() -> None:
    assert plan().source_date_epoch == MIDNIGHT
    spec = OSImageSpec(name="baseos", suite="bookworm")
    east = datetime(2026, 11, 23, 1, 0, tzinfo=timezone(timedelta(hours=5)))
    assert make_plan(spec, "1", "w", east).source_date_epoch == MIDNIGHT


def test_a_given_epoch_is_kept() -> None:
    assert plan(source_date_epoch=0).source_date_epoch == 0


def test_a_plan_says_where_the_image_goes() -> None:
    made = make_plan(OSImageSpec(name="baseos", suite="bookworm"), "1.0+b1", "w", NOW)
    assert (made.repository, made.tag) == ("baseos/baseos", "1.0_b1")


def test_no_mirror_is_given_when_nobody_names_one() -> None:
    assert mmdebstrap_command(plan(), "out.tar", None)[-2:] == ["bookworm", "out.tar"]


def test_the_mirror_of_the_spec_goes_before_the_default() -> None:
    own, default = "http://own.example/debian", "http://default.example/debian"
    assert mmdebstrap_command(plan(mirror=own), "out.tar", default)[-1] == own
    assert mmdebstrap_command(plan(), "out.tar", default)[-1] == default


def test_packages_are_sorted_so_that_their_order_does_not_matter() -> None:
    first = mmdebstrap_command(plan(packages=["b2", "a1"]), "t", None)
    assert first == mmdebstrap_command(plan(packages=["a1", "b2"]), "t", None)
    assert "--include=a1,b2" in first


def test_each_distribution_has_its_own_keyring() -> None:
    assert keyring_of(plan()).endswith("/debian-archive-keyring.gpg")
    assert keyring_of(plan(distribution="ubuntu", suite="noble")).endswith(
        "/ubuntu-archive-keyring.gpg"
    )
    assert keyring_of(plan(keyring="/usr/share/keyrings/x.gpg")) == "/usr/share/keyrings/x.gpg"


def test_the_release_is_written_and_shared_secrets_are_removed() -> None:
    hooks = [a for a in mmdebstrap_command(plan(), "t", None) if a.startswith("--customize-hook=")]
    assert 'IMAGE_VERSION="20261122.1"' in hooks[0]
    assert hooks[1] == f"--customize-hook={FINALISE}"
    assert "ssh_host_" in FINALISE
    assert "machine-id" in FINALISE


def test_progress_is_read_off_the_stages_and_grows() -> None:
    lines = ["I: running apt-get update...", "I: extracting archives...", "I: creating tarball..."]
    fractions = [found[1] for line in lines if (found := read_progress(line))]
    assert len(fractions) == 3
    assert fractions == sorted(fractions)
    assert read_progress("Get:1 something") is None


def test_only_installed_packages_are_listed() -> None:
    text = (
        "Package: b\nStatus: install ok installed\nVersion: 1:2-3\nDescription: x\n more: y\n\n"
        "Package: a\nStatus: deinstall ok config-files\nVersion: 1\n\n"
    )
    assert parse_dpkg_status(text) == {"b": "1:2-3"}


def test_the_base_image_names_its_release() -> None:
    layer = Layer(digest="sha256:" + "1" * 64, diff_id="sha256:" + "2" * 64, size=1)
    assert base_metadata(plan())["fleetwide.os.release"] == "baseos:20261122.1"
    assert base_image(plan(), layer) == base_image(plan(owner="somebody"), layer)
