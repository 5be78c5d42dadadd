import json
import random
import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.bakery.images import LABEL_NAME, bake_metadata, baked_image
from fleetwide.bakery.public_urls import public_url
from fleetwide.bakery.rebase import is_rebaseable
from fleetwide.providers.layers import LayerEntry
from tests.unit.bakes import resolved
from tests.unit.test_baked_images import BELOW, LAYER

NAMES = st.from_regex(LABEL_NAME, fullmatch=True).filter(
    lambda name: not name.startswith(("org.opencontainers.", "fleetwide."))
)
TEXTS = st.text(st.characters(exclude_categories=["C"]), max_size=50)
PARTS = st.text("abcdefghijklmnopqrstuvwxyz.-", min_size=1, max_size=8)
PATHS = st.lists(PARTS, min_size=1, max_size=5).map("/".join)
SECRET = "0hush0"


@given(labels=st.dictionaries(NAMES, TEXTS, max_size=8), data=st.randoms())
def test_the_order_of_labels_does_not_change_an_image(
    labels: dict[str, str], data: random.Random
) -> None:
    shuffled = list(labels.items())
    data.shuffle(shuffled)
    there, back = (
        baked_image(bake, BELOW, LAYER, {}, bake_metadata(bake, ""))
        for bake in (resolved(labels=labels), resolved(labels=dict(shuffled)))
    )
    assert there == back
    annotations = json.loads(there.manifest)["annotations"]
    assert labels.items() <= annotations.items()


@given(path=PATHS)
def test_only_paths_below_the_application_s_folders_are_its_own(path: str) -> None:
    entry = LayerEntry(path, Path("/x"), stat.S_IFREG | 0o644)
    own = path == "opt/app" or path.startswith(("opt/app/", "usr/local/"))
    assert is_rebaseable([entry], "app") is own
    assert is_rebaseable([LayerEntry(f"opt/app/{path}", None)], "app")
    assert not is_rebaseable([LayerEntry(f"etc/{path}", None)], "app")


@given(text=st.text(max_size=60), host=PARTS, path=PATHS)
def test_public_urls_hold_no_secret_whatever_stands_around_it(
    text: str, host: str, path: str
) -> None:
    for url in (
        f"https://{SECRET}:{SECRET}@{host}/{path}",
        f"https://{host}/{path}?{text}={SECRET}",
        f"https://{host}/{path}#{text}{SECRET}",
    ):
        assert SECRET not in public_url(url)
    assert public_url(public_url(text)) == public_url(text)
