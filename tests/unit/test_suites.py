"""Which archives a suite is made of."""

import pytest

from fleetwide.baseos.suites import (
    SUITES,
    Mirrors,
    check_suite,
    filled_in,
    source_line,
    sources_of,
)
from fleetwide.errors import InvalidInput
from fleetwide.models.baseos import Distribution
from tests.unit.os_plans import spec_of

NONE = Mirrors()
OWN = Mirrors("http://mirror.example/debian", "http://mirror.example/security")


def places(mirrors: Mirrors = NONE, **spec: object) -> list[tuple[str, str, bool]]:
    found = sources_of(spec_of(**spec), mirrors)
    return [(source.url, source.suite, source.security) for source in found]


def test_debian_has_updates_and_a_security_archive() -> None:
    assert places() == [
        ("http://deb.debian.org/debian", "bookworm", False),
        ("http://deb.debian.org/debian", "bookworm-updates", False),
        ("http://deb.debian.org/debian-security", "bookworm-security", True),
    ]


def test_ubuntu_has_them_at_hosts_of_its_own() -> None:
    assert places(distribution="ubuntu", suite="noble") == [
        ("http://archive.ubuntu.com/ubuntu", "noble", False),
        ("http://archive.ubuntu.com/ubuntu", "noble-updates", False),
        ("http://security.ubuntu.com/ubuntu", "noble-security", True),
    ]
    arm = places(distribution="ubuntu", suite="noble", architecture="arm64")
    assert {url for url, _, _ in arm} == {"http://ports.ubuntu.com/ubuntu-ports"}


@pytest.mark.parametrize("suite", ["sid", "forky", "buster"])
def test_a_rolling_or_archived_suite_stands_alone(suite: str) -> None:
    assert [found for _, found, _ in places(suite=suite)] == [suite]


def test_old_suites_come_from_the_archives_that_keep_them() -> None:
    assert places(suite="buster")[0][0] == "http://archive.debian.org/debian"
    gone = places(distribution="ubuntu", suite="mantic")
    assert {url for url, _, _ in gone} == {"http://old-releases.ubuntu.com/ubuntu"}
    assert sources_of(spec_of(suite="buster"), Mirrors())[0].keyring.endswith("removed-keys.gpg")


def test_security_can_be_left_out() -> None:
    assert places(security=False) == [("http://deb.debian.org/debian", "bookworm", False)]


def test_the_spec_goes_before_the_settings_and_those_before_the_distribution() -> None:
    assert [url for url, _, _ in places(OWN)] == [OWN.main, OWN.main, OWN.security]
    spec = {"mirror": "http://a.example/d", "security_mirror": "http://b.example/s"}
    assert [url for url, _, _ in places(OWN, **spec)] == [
        "http://a.example/d",
        "http://a.example/d",
        "http://b.example/s",
    ]


def test_more_archives_come_last_with_their_own_keyring() -> None:
    extra = {
        "url": "https://apt.example/x",
        "suite": "stable",
        "components": ["main", "extra"],
        "keyring": "/usr/share/keyrings/x.gpg",
    }
    last = sources_of(spec_of(sources=[extra]), Mirrors())[-1]
    line = "deb [signed-by=/usr/share/keyrings/x.gpg] https://apt.example/x stable main extra"
    assert source_line(last) == line
    assert not last.security


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ({"suite": "bookwurm"}, "suite: bookworm"),
        ({"suite": "noble"}, "distribution: ubuntu"),
        ({"suite": "bookworm", "distribution": "ubuntu"}, "distribution: debian"),
        ({"suite": "qqq"}, "known suites: "),
    ],
)
def test_an_unknown_suite_is_told_with_the_nearest(spec: dict[str, str], hint: str) -> None:
    with pytest.raises(InvalidInput, match="has no such suite") as caught:
        check_suite(spec_of(**spec))
    assert (caught.value.hint or "").startswith(hint)
    assert [fault.field for fault in caught.value.fields] == ["suite"]


def test_a_mirror_of_one_s_own_may_have_any_suite() -> None:
    made_up = spec_of(suite="house-1", mirror="http://mirror.example/debian")
    check_suite(made_up)
    assert [source.suite for source in sources_of(made_up, Mirrors())] == ["house-1"]


@pytest.mark.parametrize(
    ("distribution", "suite"), [(d, suite) for d in Distribution for suite in SUITES[d]]
)
def test_every_known_suite_has_an_archive_and_a_keyring(
    distribution: Distribution, suite: str
) -> None:
    spec = spec_of(distribution=distribution, suite=suite)
    check_suite(spec)
    for source in sources_of(spec, Mirrors()):
        assert source.url.startswith("http://")
        assert distribution in source.keyring or "debian" in source.keyring


def test_a_spec_is_filled_in_with_what_the_platform_chose() -> None:
    spec = spec_of()
    full = filled_in(spec, sources_of(spec, Mirrors()), "linux-image-cloud-amd64")
    assert (full.mirror, full.security_mirror) == (
        "http://deb.debian.org/debian",
        "http://deb.debian.org/debian-security",
    )
    assert (full.vm.kernel, full.vm.size) == ("linux-image-cloud-amd64", spec.vm.size)
