from fleetwide.baseos.changelogs import news_since, parse_changelog
from fleetwide.baseos.fixes import CUT_SHORT, NO_CHANGELOG, Upgrade, available_fixes
from fleetwide.models.os_locks import LockedPackage
from tests.unit.locked import package

CHANGELOG = """\
openssl (3.0.15-1~deb12u1) bookworm-security; urgency=medium, binary-only=yes

  * CVE-2024-5535 (buffer overread), cve-2024-4741 and CVE-2024-100001.
  * Mentions CVE-2024-5535 again, and CVE-24-1 which is no id.

 -- A Person <a@example.org>  Sun, 01 Sep 2024 12:00:00 +0200

openssl (3.0.14-1~deb12u2) bookworm; urgency=HIGH

  * CVE-2023-6129

 -- A Person <a@example.org>  Sun, 02 Jun 2024 12:00:00 +0200

openssl (3.0.9-1) unstable; urgency=critical

  * CVE-2023-0464 was repaired before what is installed.

 -- A Person <a@example.org>  Tue, 30 May 2023 12:00:00 +0200
"""
UPSTREAM = "Changes in 3.0.15 (1 Sep 2024):\n\n * Fixed CVE-1999-0001\n" * 100


def openssl(name: str, version: str) -> LockedPackage:
    return package(name, version, Source="openssl")


def upgrade(name: str, changelog: str | None, installed: str = "3.0.9-1") -> Upgrade:
    return Upgrade(openssl(name, installed), openssl(name, "3.0.15-1~deb12u1"), changelog)


def test_a_changelog_is_read_entry_by_entry() -> None:
    entries = list(parse_changelog(CHANGELOG))
    assert [(one.source, one.version, one.urgency) for one in entries] == [
        ("openssl", "3.0.15-1~deb12u1", "medium"),
        ("openssl", "3.0.14-1~deb12u2", "high"),
        ("openssl", "3.0.9-1", "critical"),
    ]
    assert entries[0].cves == {"CVE-2024-5535", "CVE-2024-4741", "CVE-2024-100001"}
    assert list(parse_changelog(UPSTREAM)) == []


def test_only_what_is_newer_than_installed_is_news() -> None:
    news = news_since(CHANGELOG, "3.0.14-1~deb12u2")
    assert news is not None
    assert (news.urgency, news.complete) == ("medium", True)
    assert [entry.version for entry in news.entries] == ["3.0.15-1~deb12u1"]


def test_a_fix_names_its_cves_by_number_and_the_highest_urgency() -> None:
    (fix,) = available_fixes([upgrade("libssl3", CHANGELOG)])
    assert (fix.package, fix.source) == ("libssl3", "openssl")
    assert (fix.installed, fix.fixed_in) == ("3.0.9-1", "3.0.15-1~deb12u1")
    assert fix.cves == ["CVE-2023-6129", "CVE-2024-4741", "CVE-2024-5535", "CVE-2024-100001"]
    assert (fix.urgency, fix.note) == ("high", "")


def test_a_rebuild_of_the_same_source_is_compared_by_its_source_version() -> None:
    installed = package("libssl3", "3.0.14-1~deb12u2+b1", Source="openssl (3.0.14-1~deb12u2)")
    newer = openssl("libssl3", "3.0.15-1~deb12u1")
    (fix,) = available_fixes([Upgrade(installed, newer, CHANGELOG)])
    assert "CVE-2023-6129" not in fix.cves


def test_a_package_without_a_changelog_of_its_own_reads_its_siblings() -> None:
    upgrades = [upgrade("openssl", CHANGELOG), upgrade("libssl3", None)]
    libssl, itself = available_fixes(upgrades)
    assert (libssl.package, itself.package) == ("libssl3", "openssl")
    assert libssl.cves == itself.cves
    assert libssl.note == ""


def test_the_upstream_authors_changelog_is_not_taken_for_debians() -> None:
    upgrades = [upgrade("libssl3", UPSTREAM), upgrade("openssl", CHANGELOG)]
    assert [fix.note for fix in available_fixes(upgrades)] == ["", ""]
    (alone,) = available_fixes([upgrade("libssl3", UPSTREAM)])
    assert (alone.cves, alone.urgency, alone.note) == ([], None, NO_CHANGELOG)


def test_a_sibling_of_another_version_does_not_speak_for_it() -> None:
    other = Upgrade(openssl("openssl", "3.0.9-1"), openssl("openssl", "3.0.16-1"), CHANGELOG)
    libssl, _ = available_fixes([upgrade("libssl3", None), other])
    assert libssl.note == NO_CHANGELOG


def test_a_changelog_that_ends_too_early_says_so() -> None:
    (fix,) = available_fixes([upgrade("libssl3", CHANGELOG, installed="1.1.1n-0")])
    assert len(fix.cves) == 5
    assert fix.note == CUT_SHORT


def test_what_is_not_newer_is_no_fix() -> None:
    assert available_fixes([upgrade("libssl3", CHANGELOG, installed="3.0.15-1~deb12u1")]) == []
    assert available_fixes([upgrade("libssl3", CHANGELOG, installed="3.1-1")]) == []
    assert available_fixes([]) == []
