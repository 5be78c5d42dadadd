import pytest
from packaging.metadata import Metadata
from packaging.tags import parse_tag

from fleetwide.bakery.requirements import (
    PythonPlatform,
    check_direct,
    check_requirements,
    check_wheel,
    reached,
)
from fleetwide.errors import ArtifactRejected, DependencyUnsatisfied, WrongArchitecture

PYTHON = PythonPlatform((3, 11), "3.11.2", "x86_64", (2, 36))


def wheel(name: str, *requires: str, version: str = "1.0", python: str = "") -> Metadata:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {one}" for one in requires]
    lines += [f"Requires-Python: {python}"] if python else []
    return Metadata.from_email("\n".join(lines) + "\n", validate=False)


def checked(wheels: list[Metadata]) -> None:
    check_requirements(wheels, wheels, PYTHON)


def test_wheels_that_bring_each_other_pass() -> None:
    checked([wheel("app", "Lib_One>=1"), wheel("lib-one")])


def test_every_missing_requirement_is_named_at_once() -> None:
    with pytest.raises(DependencyUnsatisfied) as caught:
        checked([wheel("app", "one>=2", "two"), wheel("one")])
    assert "app 1.0 needs one>=2 (the bake has 1.0)" in caught.value.message
    assert "app 1.0 needs two" in caught.value.message
    assert caught.value.hint is not None


def test_markers_are_those_of_the_base() -> None:
    elsewhere = ['a; sys_platform=="win32"', 'b; python_version<"3.8"', 'c; extra=="test"']
    checked([wheel("app", *elsewhere)])
    with pytest.raises(DependencyUnsatisfied, match="needs d"):
        checked([wheel("app", 'd; python_version>="3.11"')])


def test_extras_that_are_asked_for_count() -> None:
    library = wheel("lib", 'speed; extra=="fast"')
    checked([wheel("app", "lib"), library])
    with pytest.raises(DependencyUnsatisfied, match=r"lib 1\.0 needs speed"):
        checked([wheel("app", "lib[fast]"), library])


@pytest.mark.parametrize(
    "tag", ["py3-none-any", "cp311-cp311-manylinux_2_17_x86_64", "cp38-abi3-manylinux2014_x86_64"]
)
def test_wheels_for_this_python_pass(tag: str) -> None:
    check_wheel(wheel("app", python=">=3.9"), parse_tag(tag), PYTHON)


@pytest.mark.parametrize(
    "tag",
    [
        "cp312-cp312-manylinux_2_17_x86_64",
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


def test_a_wheel_for_other_machines_is_told_apart() -> None:
    with pytest.raises(WrongArchitecture, match="aarch64"):
        check_wheel(wheel("app"), parse_tag("cp311-cp311-manylinux_2_17_aarch64"), PYTHON)


def test_only_what_the_wanted_lead_to_is_reached() -> None:
    """A build backend that was fetched along is not."""
    app, library = wheel("app", "lib[fast]"), wheel("lib", 'speed; extra=="fast"')
    brought = [app, library, wheel("speed"), wheel("backend", "helper"), wheel("helper")]
    assert reached([app], brought, PYTHON) == {"app", "lib", "speed"}


def test_a_requirement_by_a_url_is_refused() -> None:
    with pytest.raises(ArtifactRejected, match="requires evil by a URL"):
        check_direct([wheel("app", "evil @ https://files.example/evil-1.0.tar.gz")])
