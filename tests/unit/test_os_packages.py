"""What each face asks for."""

from itertools import pairwise

import pytest

from fleetwide.baseos.packages import (
    GRUB_MODULES,
    KERNELS,
    faces_of,
    included,
    kernel_of,
    wanted,
)
from fleetwide.models.baseos import Architecture, BootMode, Distribution, Face, Variant
from tests.unit.os_plans import spec_of


@pytest.mark.parametrize(
    ("targets", "faces"),
    [
        (["container"], [Face.CONTAINER]),
        (["vm"], [Face.VM, Face.TOOLS]),
        (["vm", "container"], [Face.CONTAINER, Face.VM, Face.TOOLS]),
    ],
)
def test_a_vm_needs_the_tools_that_write_its_disk(targets: list[str], faces: list[Face]) -> None:
    assert faces_of(spec_of(targets=targets)) == faces


def test_the_container_gets_no_kernel_and_no_init() -> None:
    asked = wanted(spec_of(packages=["vim", "curl"]), Face.CONTAINER)
    assert {"?essential", "apt", "?priority(^required$)", "curl", "vim"} <= set(asked)
    assert not {"systemd-sysv", "openssh-server", kernel_of(spec_of())} & set(asked)


def test_the_vm_gets_kernel_init_ssh_and_its_own_packages() -> None:
    asked = wanted(spec_of(packages=["vim"], vm={"packages": ["htop"]}), Face.VM)
    expected = {"vim", "htop", "linux-image-cloud-amd64", "systemd-sysv", "openssh-server"}
    assert expected <= set(asked)
    assert len(asked) == len(set(asked))


def test_the_order_of_packages_does_not_matter() -> None:
    for face in Face:
        first = wanted(spec_of(packages=["b2", "a1"]), face)
        assert first == wanted(spec_of(packages=["a1", "b2"]), face)


def test_a_bigger_variant_asks_for_all_of_a_smaller_one() -> None:
    asked = [wanted(spec_of(variant=variant), Face.CONTAINER) for variant in Variant]
    for smaller, bigger in pairwise(asked):
        assert set(smaller) < set(bigger)
    assert "?essential" in asked[0]
    assert "apt" not in asked[0]


def test_a_kernel_can_be_chosen() -> None:
    assert kernel_of(spec_of(vm={"kernel": "linux-image-rt-amd64"})) == "linux-image-rt-amd64"


def test_there_is_a_kernel_for_every_machine_and_a_loader_for_every_firmware() -> None:
    assert set(KERNELS) == {(d, a) for d in Distribution for a in Architecture}
    possible = {(a, b) for a in Architecture for b in BootMode}
    assert possible - set(GRUB_MODULES) == {(Architecture.ARM64, BootMode.BIOS)}


def test_mmdebstrap_is_given_names_and_what_the_suite_has_besides() -> None:
    spec = spec_of(packages=["vim"], variant="important")
    assert "vim" in included(spec, Face.CONTAINER, {"systemd-resolved"})
    assert "systemd-resolved" not in included(spec, Face.CONTAINER, {"systemd-resolved"})
    names = included(spec, Face.VM, {"systemd-resolved"})
    assert "systemd-resolved" in names
    assert "systemd-timesyncd" not in names
    assert not [name for name in names if name.startswith("?")]
