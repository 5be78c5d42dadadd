import pytest

from fleetwide.baseos.stanzas import (
    Relation,
    dependency_edges,
    facts_of,
    parse_relations,
    parse_stanza,
    source_of,
)
from tests.unit.locked import package, small_set


def test_a_paragraph_is_read_with_folded_fields_and_any_case() -> None:
    text = "Package: a\nDESCRIPTION: short: text\n more\n .\n\tend\nEmpty:\nTag: x,\n y\n"
    assert parse_stanza(text) == {
        "package": "a",
        "description": "short: text\nmore\n.\nend",
        "empty": "",
        "tag": "x,\ny",
    }


def test_a_sign_that_python_takes_for_a_line_end_is_none() -> None:
    assert parse_stanza("Maintainer: A\x1cB: C\u2028D\nSection: x") == {
        "maintainer": "A\x1cB: C\u2028D",
        "section": "x",
    }


def test_a_line_that_is_no_field_is_ignored() -> None:
    assert parse_stanza(" folded before any field\nnonsense\nPackage: a") == {"package": "a"}


def test_relations_are_read_with_alternatives_versions_and_qualifiers() -> None:
    found = parse_relations("libc6 (>= 2.36), a:any | b (<<1:2~x) , , python3:any (= 3.11.2-1),")
    assert found == (
        (Relation("libc6", ">=", "2.36"),),
        (Relation("a"), Relation("b", "<<", "1:2~x")),
        (Relation("python3", "=", "3.11.2-1"),),
    )


@pytest.mark.parametrize(
    ("sign", "accepted"),
    [
        ("<<", ["1.0~rc1"]),
        ("<=", ["1.0~rc1", "1.0"]),
        ("<", ["1.0~rc1", "1.0"]),
        ("=", ["1.0"]),
        (">=", ["1.0", "1.0-1"]),
        (">", ["1.0", "1.0-1"]),
        (">>", ["1.0-1"]),
    ],
)
def test_a_relation_accepts_the_versions_that_dpkg_accepts(sign: str, accepted: list[str]) -> None:
    relation = Relation("x", sign, "1.0")
    assert [one for one in ("1.0~rc1", "1.0", "1.0-1") if relation.accepts(one)] == accepted


def test_a_name_provided_without_a_version_satisfies_only_who_asks_for_none() -> None:
    assert Relation("awk").accepts(None)
    assert not Relation("awk", ">=", "0").accepts(None)


def test_the_source_is_named_with_the_version_that_its_changelog_knows() -> None:
    assert source_of(package("a", "1+b1", Source="src (1)")) == ("src", "1")
    assert source_of(package("a", "2", Source="src")) == ("src", "2")
    assert source_of(package("a", "2")) == ("a", "2")


def test_facts_of_a_paragraph() -> None:
    facts = facts_of(small_set()[0])
    assert (facts.source, facts.source_version) == ("openssl", "3.0.22-1~deb12u2")
    assert facts.maintainer == "Debian OpenSSL Team"
    assert facts.maintainer_email == "pkg-openssl-devel@alioth-lists.debian.net"
    assert facts.homepage == "https://www.openssl.org/"
    assert facts.summary == "Secure Sockets Layer toolkit - shared libraries"
    assert facts.depends == ((Relation("libc6", ">=", "2.34"),),)
    nameless = facts_of(package("a", Maintainer="nobody@example.org"))
    assert (nameless.maintainer, nameless.maintainer_email) == ("nobody@example.org", "")


def test_edges_lead_to_the_first_alternative_that_something_satisfies() -> None:
    edges = dependency_edges([facts_of(one) for one in small_set()])
    assert edges["libssl3"] == ["libc6"]
    # awk and libgcc1 are provided; libstdc++6 is too old and two names are nowhere.
    assert edges["base-files"] == ["libgcc-s1", "mawk"]
    assert edges["mawk"] == []


def test_a_real_package_comes_before_one_that_provides_its_name() -> None:
    packages = [
        package("a-provider", Provides="wanted"),
        package("wanted"),
        package("self", Depends="self | wanted"),
        package("user", Depends="wanted"),
    ]
    edges = dependency_edges([facts_of(one) for one in packages])
    assert edges["user"] == ["wanted"]
    assert edges["self"] == []
