import stat
from pathlib import Path
from typing import Any

import pytest

from fleetwide.bakery.rebase import is_rebaseable
from fleetwide.models.bakes import BuiltLayer
from fleetwide.providers.layers import LayerEntry
from tests.unit.test_baked_images import LAYER

FOLDER, FILE = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644
SOURCE = Path("/anything")


def entry(path: str, mode: int = FILE, **more: Any) -> LayerEntry:
    return LayerEntry(path, SOURCE, mode, **more)


OWN = [
    entry("opt", FOLDER),
    entry("opt/hello", FOLDER),
    entry("opt/hello/bin/run", stat.S_IFREG | 0o755, uid=1000, gid=1000),
    LayerEntry("opt/hello/.wh.old", None),
    entry("usr", FOLDER),
    entry("usr/local", FOLDER),
    entry("usr/local/lib/python3.11/dist-packages/app.py"),
]


def test_a_layer_of_the_application_s_own_folders_moves_freely() -> None:
    assert is_rebaseable(OWN, "hello")
    assert is_rebaseable([], "hello")


@pytest.mark.parametrize(
    "stranger",
    [
        entry("etc", FOLDER),
        entry("etc/hello.conf"),
        entry("var/lib/dpkg/status"),
        entry("usr/bin/hello"),
        entry("usr/localfile"),
        entry("opt/other/file"),
        entry("opt/hello-2/file"),
        entry("opt/hello2", FOLDER),
        entry("srv", FOLDER),
        # Deletions of what lies below, and folders that hide it.
        LayerEntry(".wh.opt", None),
        LayerEntry("opt/.wh.hello", None),
        LayerEntry("opt/.wh..wh..opq", None),
        LayerEntry("usr/.wh.local", None),
        LayerEntry("usr/local", None),
        # Parents that are not as every base has them.
        entry("opt", stat.S_IFDIR | 0o700),
        entry("opt", stat.S_IFDIR | 0o1777),
        entry("opt", stat.S_IFLNK | 0o777),
        entry("usr", FOLDER, uid=1),
        entry("usr/local", FOLDER, gid=50),
    ],
    ids=lambda one: f"{one.path}-{one.mode:o}",
)
def test_anything_else_ties_a_layer_to_its_base(stranger: LayerEntry) -> None:
    assert not is_rebaseable([*OWN, stranger], "hello")


def built(**changes: Any) -> BuiltLayer:
    given = {
        "layer": LAYER,
        "uncompressed_size": 10,
        "entries": 1,
        "rebaseable": True,
        "build_seconds": 1,
    }
    return BuiltLayer.model_validate({**given, **changes})
