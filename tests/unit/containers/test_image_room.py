"""Which images go, and in which order."""

from fleetwide.containers.image_room import HeldImage, Kept, removable

OURS = "registry:5000/"
KEPT = Kept(registry=OURS, in_use={"used"}, wanted={f"{OURS}wanted@sha256:1"}, used_since=100.0)


def held(name: str, used_at: float = 0.0, size: int = 1, names: tuple[str, ...] = ()) -> HeldImage:
    return HeldImage(name, names or (f"{OURS}{name}@sha256:1",), size, used_at)


def test_the_longest_unused_goes_first_and_of_two_the_larger() -> None:
    images = [held("c", 3), held("a", 1), held("big", 2, size=9), held("b", 2)]
    assert [image.id for image in removable(images, KEPT)] == ["a", "big", "b", "c"]


def test_what_is_kept() -> None:
    images = [
        held("used"),
        held("wanted"),
        held("fresh", 100.0),
        held("foreign", names=("docker.io/library/debian:12",)),
        held("shared", names=(f"{OURS}shared@sha256:1", "mine:latest")),
        held("lookalike", names=("registry:50000/x@sha256:1",)),
        HeldImage("nameless", (), 1, 0.0),
        held("goes", 99.0),
    ]
    assert [image.id for image in removable(images, KEPT)] == ["goes"]
