from fleetwide.baseos.package_diff import package_diff
from fleetwide.models.baseos import Architecture, Face
from fleetwide.models.os_locks import Lock, LockedPackage
from fleetwide.models.os_reports import PackageChange
from tests.unit.locked import package

BEFORE = [
    package("bash", "5.2.15-2+b7"),
    package("gone", "1"),
    package("openssl", "3.0.9-1", security=True),
    package("same", "1"),
    package("tzdata", "2026b-0"),
    package("zlib1g", "1.2.13"),
]
AFTER = [
    package("bash", "5.2.15-2+b10"),
    package("new", "1"),
    package("openssl", "3.0.22-1~deb12u2", security=True),
    package("same", "1"),
    package("tzdata", "2026b-0~deb12u1"),
    package("zlib1g", "1.2.13", bytes_of="other"),
]


def lock(packages: list[LockedPackage]) -> Lock:
    return Lock(suite="bookworm", architecture=Architecture.AMD64, sources=[], packages=packages)


def test_every_kind_of_change_is_told_with_both_versions() -> None:
    diff = package_diff(BEFORE, AFTER)
    assert diff.added == [PackageChange(name="new", before=None, after="1")]
    assert diff.removed == [PackageChange(name="gone", before="1", after=None)]
    # b10 is newer than b7 though its text sorts before it.
    assert [(one.name, one.before, one.after, one.security) for one in diff.upgraded] == [
        ("bash", "5.2.15-2+b7", "5.2.15-2+b10", False),
        ("openssl", "3.0.9-1", "3.0.22-1~deb12u2", True),
    ]
    assert [one.name for one in diff.downgraded] == ["tzdata"]
    assert [one.name for one in diff.replaced] == ["zlib1g"]
    assert diff.summary == ("2 upgraded (1 security), 1 added, 1 removed, 1 downgraded, 1 replaced")


def test_nothing_changed_reads_as_that() -> None:
    assert package_diff(BEFORE, BEFORE).summary == "no change"


def test_a_lock_stands_for_the_packages_of_its_images() -> None:
    tools = [package("mtools", "4", faces=[Face.TOOLS]), package("new", faces=[Face.VM])]
    diff = package_diff(lock([]), lock(tools))
    assert diff.summary == "1 added"
    assert package_diff([], tools).summary == "2 added"
