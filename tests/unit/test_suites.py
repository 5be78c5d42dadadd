"""Which archives a suite is made of."""

import pytest

from fleetwide.baseos.suites import (
    SUITES,
    Mirrors,
    check_suite,
    filled_in,
    is_settled,
    named_mirrors,
    source_line,
    sources_of,
)
from fleetwide.errors import InvalidInput
from fleetwide.models.baseos import Distribution
from tests.unit.os_plans import spec_of

NONE = Mirrors()
OWN = Mirrors("http://mirror.example/main", "http://mirror.example/security")


def places(mirrors: Mirrors = OWN, **fields: object) -> list[tuple[str, str, bool]]:
    spec = spec_of(**fields)
    found = sources_of(spec, named_mirrors(spec, mirrors))
    return [(source.url, source.suite, source.security) for source in found]


@pytest.mark.parametrize(
    ("distribution", "suite"),
    [("debian", "bookworm"), ("ubuntu", "noble"), ("ubuntu", "mantic")],
)
def test_a_living_suite_has_updates_and_a_security_archive(distribution: str, suite: str) -> None:
    assert places(distribution=distribution, suite=suite) == [
        (OWN.main, suite, False),
        (OWN.main, f"{suite}-updates", False),
        (OWN.security, f"{suite}-security", True),
    ]


@pytest.mark.parametrize("suite", ["sid", "forky", "buster"])
def test_a_rolling_or_archived_suite_stands_alone(suite: str) -> None:
    assert [found for _, found, _ in places(suite=suite)] == [suite]


@pytest.mark.parametrize(("distribution", "suite"), [("debian", "buster"), ("ubuntu", "mantic")])
def test_a_suite_that_has_left_the_mirrors_wants_one_that_keeps_it(
    distribution: str, suite: str
) -> None:
    spec = spec_of(distribution=distribution, suite=suite)
    with pytest.raises(InvalidInput, match=f"{suite} has left the mirrors") as caught:
        named_mirrors(spec, NONE)
    assert [fault.field for fault in caught.value.fields] == ["mirror"]


def test_an_old_ubuntu_lies_in_one_place_with_its_last_security_updates() -> None:
    found = places(Mirrors("http://old.example/main"), distribution="ubuntu", suite="mantic")
    assert {url for url, _, _ in found} == {"http://old.example/main"}


def test_an_archived_debian_is_signed_by_removed_keys() -> None:
    assert sources_of(spec_of(suite="buster"), OWN)[0].keyring.endswith("removed-keys.gpg")


def test_security_can_be_left_out() -> None:
    assert places(security=False) == [(OWN.main, "bookworm", False)]


@pytest.mark.parametrize(
    ("fields", "mirrors", "settled"),
    [
        ({}, OWN, True),
        ({}, NONE, False),
        ({}, Mirrors(main=OWN.main), False),
        ({"security": False}, Mirrors(main=OWN.main), True),
        ({"suite": "sid"}, Mirrors(main=OWN.main), True),
        ({"mirror": OWN.main}, NONE, False),
        ({"mirror": OWN.main, "security_mirror": OWN.security}, NONE, True),
        ({"mirror": OWN.main, "suite": "house-1"}, NONE, True),
    ],
)
def test_mmdebstrap_is_asked_only_for_what_nobody_named(
    fields: dict[str, object], mirrors: Mirrors, *, settled: bool
) -> None:
    spec = spec_of(**fields)
    assert is_settled(spec, named_mirrors(spec, mirrors)) is settled


def test_the_spec_goes_before_the_settings_and_those_before_the_distribution() -> None:
    assert NONE.or_else(OWN) == OWN
    assert Mirrors(main="http://a.example/d").or_else(OWN).security == OWN.security
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
    last = sources_of(spec_of(sources=[extra]), OWN)[-1]
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
    made_up = spec_of(suite="house-1", mirror=OWN.main)
    check_suite(made_up)
    found = sources_of(made_up, named_mirrors(made_up, NONE))
    assert [source.suite for source in found] == ["house-1"]


@pytest.mark.parametrize(
    ("distribution", "suite"), [(d, suite) for d in Distribution for suite in SUITES[d]]
)
def test_every_known_suite_has_an_archive_and_a_keyring(
    distribution: Distribution, suite: str
) -> None:
    spec = spec_of(distribution=distribution, suite=suite)
    check_suite(spec)
    for source in sources_of(spec, named_mirrors(spec, OWN)):
        assert source.url in (OWN.main, OWN.security)
        assert distribution in source.keyring or "debian" in source.keyring


def test_a_spec_is_filled_in_with_what_the_platform_chose() -> None:
    spec = spec_of()
    full = filled_in(spec, sources_of(spec, OWN), "linux-image-cloud-amd64")
    assert (full.mirror, full.security_mirror) == (OWN.main, OWN.security)
    assert (full.vm.kernel, full.vm.size) == ("linux-image-cloud-amd64", spec.vm.size)
