import pytest

from fleetwide.bakery.build_systems import LEGACY, build_system
from fleetwide.errors import ArtifactRejected


def test_a_tree_that_says_nothing_is_built_by_setuptools() -> None:
    assert build_system(None, "x") == LEGACY
    assert build_system("[project]\nname = 'x'\n", "x") == LEGACY
    old = build_system("[build-system]\nrequires = ['wheel']\n", "x")
    assert (old.backend, [str(one) for one in old.requires]) == (LEGACY.backend, ["wheel"])


def test_the_backend_and_its_folders_are_read() -> None:
    text = "[build-system]\nrequires=['a>1', 'b']\nbuild-backend='my:obj'\nbackend-path=['tools']"
    found = build_system(text, "x")
    assert [str(one) for one in found.requires] == ["a>1", "b"]
    assert (found.backend, found.backend_path) == ("my:obj", ("tools",))


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "build-system = 3",
        "[build-system]\nbuild-backend='x'",
        "[build-system]\nrequires=['?']",
    ],
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ArtifactRejected, match=r"^app\.tar\.gz: the table build-system"):
        build_system(text, "app.tar.gz")
