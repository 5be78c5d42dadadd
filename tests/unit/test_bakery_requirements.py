import pytest
from packaging.metadata import Metadata
from packaging.tags import parse_tag

from fleetwide.bakery.requirements import PythonPlatform, check_requirements, check_wheel
from fleetwide.errors import ArtifactRejected

PYTHON = PythonPlatform((3, 11), "3.11.2", "x86_64", (2, 36))


def wheel(name: str, *requires: str, version: str = "1.0", python: str = "") -> Metadata:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {one}" for one in requires]
    lines += [f"Requires-Python: {python}"] if python else []
    return Metadata.from_email("\n".join(lines) + "\n", validate=False)


def test_wheels_that_bring_each_other_pass() -> None:
    check_requirements([wheel("app", "Lib_One>=1"), wheel("lib-one")], PYTHON)


def test_every_missing_requirement_is_named_at_once() -> None:
    with pytest.raises(ArtifactRejected) as caught:
        check_requirements([wheel("app", "one>=2", "two"), wheel("one")], PYTHON)
    assert "app 1.0 needs one>=2 (the bake has 1.0)" in caught.value.message
    assert "app 1.0 needs two" in caught.value.message
    assert caught.value.hint is not None


def test_markers_are_those_of_the_base() -> None:
    elsewhere = ['a; sys_platform=="win32"', 'b; python_version<"3.8"', 'c; extra=="test"']
    check_requirements([wheel("app", *elsewhere)], PYTHON)
    with pytest.raises(ArtifactRejected, match="needs d"):
        check_requirements([wheel("app", 'd; python_version>="3.11"')], PYTHON)


def test_extras_that_are_asked_for_count() -> None:
    library = wheel("lib", 'speed; extra=="fast"')
    check_requirements([wheel("app", "lib"), library], PYTHON)
    with pytest.raises(ArtifactRejected, match=r"lib 1\.0 needs speed"):
        check_requirements([wheel("app", "lib[fast]"), library], PYTHON)


@pytest.mark.parametrize(
    "tag", ["py3-none-any", "cp311-cp311-manylinux_2_17_x86_64", "cp38-abi3-manylinux2014_x86_64"]
)
def test_wheels_for_this_python_pass(tag: str) -> None:
    check_wheel(wheel("app", python=">=3.9"), parse_tag(tag), PYTHON)


@pytest.mark.parametrize(
    "tag",
    [
        "cp312-cp312-manylinux_2_17_x86_64",
        "cp311-cp311-manylinux_2_17_aarch64",
        "cp311-cp311-manylinux_2_38_x86_64",
        "cp311-cp311-musllinux_1_2_x86_64",
    ],
)
def test_wheels_for_another_python_are_refused(tag: str) -> None:
    with pytest.raises(ArtifactRejected, match=tag):
        check_wheel(wheel("app"), parse_tag(tag), PYTHON)


def test_a_newer_python_than_the_base_has_is_refused() -> None:
    with pytest.raises(ArtifactRejected, match=r"wants Python >=3.12; the base has 3.11.2"):
        check_wheel(wheel("app", python=">=3.12"), parse_tag("py3-none-any"), PYTHON)
