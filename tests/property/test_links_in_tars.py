"""No set of links that may go into a tar leads out of the folder that it is unpacked in."""

import os
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.containers.links_in_tars import stays_inside

NAMES = st.sampled_from(["a", "b", "c"])
FOLDERS = st.lists(NAMES, max_size=3).map("/".join)
TARGETS = st.one_of(
    st.lists(st.sampled_from(["..", ".", "a", "b", "c", "l", ""]), min_size=1, max_size=6).map(
        "/".join
    ),
    st.sampled_from(["/", "/etc/passwd", "//a", ""]),
)


@given(st.lists(st.tuples(FOLDERS, st.sampled_from(["l", "m"]), TARGETS), max_size=8))
def test_links_that_are_let_in_lead_nowhere_outside(links: list[tuple[str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary, "x/y/z/root").resolve()
        root.mkdir(parents=True)
        made = []
        for folder, name, target in links:
            place = root / folder
            place.mkdir(parents=True, exist_ok=True)
            if stays_inside(folder, target) and not os.path.lexists(place / name):
                (place / name).symlink_to(target)
                made.append(place / name)
        for link in made:
            end = os.path.realpath(link)
            assert end == str(root) or end.startswith(f"{root}/")


def test_what_is_of_use_is_let_in() -> None:
    assert stays_inside("", "a")
    assert stays_inside("a/b", "../c/d")
    assert stays_inside("a/b", "../..")
    assert not stays_inside("a/b", "../../..")
    assert not stays_inside("", "/a")
    assert not stays_inside("a", "b/../c")
