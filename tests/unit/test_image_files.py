"""The texts that every image carries."""

import configparser

import pytest
import yaml

from fleetwide.baseos.image_files import (
    HOST_KEYS_UNIT,
    NETWORK,
    VM_FILES,
    VM_UNITS,
    os_release,
    sources_list,
    sysctl_conf,
)
from fleetwide.baseos.suites import Mirrors, sources_of
from tests.unit.os_plans import plan, spec_of

MIRRORS = Mirrors("http://mirror.example/main", "http://mirror.example/security")
KEY = "sha256:" + "0123456789abcdef" * 4


def test_the_release_is_told_in_the_words_of_os_release() -> None:
    assert os_release(plan(), KEY) == (
        'IMAGE_ID="baseos"\nIMAGE_VERSION="20261122.1"\nBUILD_ID="0123456789abcdef"\n'
    )


def test_the_image_takes_its_updates_from_where_it_came() -> None:
    sources = sources_of(spec_of(), MIRRORS)
    lines = sources_list(sources, lambda _path: True).splitlines()
    keyring = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    assert lines[0] == f"deb {keyring} http://mirror.example/main bookworm main"
    assert len(lines) == 3


def test_a_keyring_that_the_image_does_not_have_is_not_named() -> None:
    text = sources_list(sources_of(spec_of(), MIRRORS), lambda _path: False)
    assert text.startswith("deb http://mirror.example/main bookworm main\n")
    assert "signed-by" not in text


def test_sysctls_are_in_one_order() -> None:
    first = sysctl_conf({"vm.swappiness": 1, "net.ipv4.ip_forward": "0"})
    assert first == "net.ipv4.ip_forward = 0\nvm.swappiness = 1\n"


@pytest.mark.parametrize("text", [NETWORK, HOST_KEYS_UNIT])
def test_units_are_sections_of_keys(text: str) -> None:
    parsed = configparser.ConfigParser(strict=True)
    parsed.read_string(text)
    assert all(parsed[section] for section in parsed.sections())


def test_cloud_init_s_part_is_yaml_and_allows_no_passwords() -> None:
    config = yaml.safe_load(VM_FILES["/etc/cloud/cloud.cfg.d/90_fleetwide.cfg"])
    assert config["ssh_pwauth"] is False
    assert "Ec2" in config["datasource_list"]


def test_a_unit_of_ours_that_is_enabled_is_there() -> None:
    ours = {unit for unit in VM_UNITS if unit.startswith("fleetwide-")}
    assert ours
    assert ours <= {path.rpartition("/")[2] for path in VM_FILES}
