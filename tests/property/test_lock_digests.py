"""A lock is called by what goes in: by nothing else, and in no order."""

from dataclasses import dataclass
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.baseos.locks import Chosen, lock_digest, make_lock, security_digest
from fleetwide.models.baseos import Face
from fleetwide.models.os_locks import Lock, LockedPackage, LockedSource
from tests.unit.locked import package
from tests.unit.os_plans import spec_of

FACES = (Face.CONTAINER, Face.VM)


@dataclass(frozen=True)
class Picked:
    """A package, and which faces chose it."""

    package: LockedPackage
    faces: tuple[Face, ...]


PICKED = st.builds(
    lambda name, version, faces, security: Picked(
        package(name, version, security=security), tuple(face for face in FACES if face in faces)
    ),
    st.sampled_from(["bash", "dash", "libc6", "openssl", "tar"]),
    st.sampled_from(["1", "2", "1:0~rc1-1"]),
    st.sets(st.sampled_from(FACES), min_size=1),
    st.booleans(),
)
SETS = st.lists(PICKED, min_size=1, unique_by=lambda one: one.package.name)


def lock_of(picked: list[Picked], mirror: str = "http://a") -> Lock:
    source = LockedSource(url=mirror, suite="bookworm", components=["main"], keyring="/k")
    solutions: dict[Face, list[Chosen]] = {
        face: [
            Chosen(one.package.name, one.package.version, "amd64", one.package.security)
            for one in picked
            if face in one.faces
        ]
        for face in FACES
    }
    stanzas = [f"{one.package.stanza}\nSize: {one.package.size}" for one in picked]
    urls = {one.package.sha256: f"{mirror}/{one.package.name}.deb" for one in picked}
    return make_lock(spec_of(), [source], solutions, stanzas, urls)


@given(SETS, st.randoms(use_true_random=False))
def test_neither_order_nor_mirror_is_in_the_digest(picked: list[Picked], random: Random) -> None:
    shuffled = random.sample(picked, len(picked))
    one, other = lock_of(picked), lock_of(shuffled, "http://b/elsewhere")
    assert lock_digest(one) == lock_digest(other)
    assert [entry.name for entry in one.packages] == [entry.name for entry in other.packages]
    assert {entry.url for entry in one.packages}.isdisjoint(entry.url for entry in other.packages)


@given(SETS, SETS)
def test_locks_have_equal_digests_when_the_same_goes_into_the_same_faces(
    left: list[Picked], right: list[Picked]
) -> None:
    def content(picked: list[Picked]) -> set[tuple[str, tuple[Face, ...]]]:
        return {(one.package.sha256, one.faces) for one in picked}

    same = content(left) == content(right)
    assert (lock_digest(lock_of(left)) == lock_digest(lock_of(right))) == same


@given(SETS)
def test_a_fix_that_moves_to_the_main_archive_is_no_change(picked: list[Picked]) -> None:
    moved = [
        Picked(one.package.model_copy(update={"security": False}), one.faces) for one in picked
    ]
    assert lock_digest(lock_of(picked)) == lock_digest(lock_of(moved))
    fixed = [one for one in picked if one.package.security]
    assert (security_digest(lock_of(picked)) == security_digest(lock_of(moved))) == (not fixed)
