"""What a machine tells of itself, on machines of paper."""

from pathlib import Path
from typing import Any

import pytest

from fleetwide.errors import PlatformError
from fleetwide.models.hosts import HostFacts
from fleetwide.providers import machine
from fleetwide.providers.ec2_instance import Instance
from fleetwide.providers.machine import Machine
from fleetwide.settings import Settings

OVERLAY = {
    "Driver": "overlay2",
    "DriverStatus": [["Backing Filesystem", "extfs"]],
    "CgroupVersion": "2",
}


def facts() -> HostFacts:
    return HostFacts(
        host_id="h",
        docker_version="27",
        os="Debian",
        kernel="6",
        architecture="x86_64",
        cpus=4,
        memory=16 * 1024**3,
    )


def test_figures_are_completed_and_the_reserve_is_taken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "file_system", lambda _: (100 * 10**9, 60 * 10**9))
    monkeypatch.setattr(machine, "link_speed", lambda: 10_000)
    settings = Settings(host_gpus="/dev/fuse", host_reserve_network=500)
    found = Machine(settings).complete(facts(), {**OVERLAY, "DockerRootDir": str(tmp_path)}, 10**9)
    assert (found.disk, found.disk_offered) == (100 * 10**9, 56 * 10**9)
    assert (found.network, found.network_offered) == (10_000, 9_500)
    assert found.gpus == ["/dev/fuse"]
    assert found.labels["architecture"] == "x86_64"
    assert found.limits["cpu"] == "kernel: cgroup v2"
    assert found.limits["disk"] == "watched: every 10 s, as overlay2 on extfs has no quotas"


def test_a_host_is_reached_by_the_setting_or_by_the_network_of_the_platform() -> None:
    given = Settings.model_validate({"host_address": "2001:db8::7"})
    assert machine.address_of(given) == "2001:db8::7"
    assert machine.address_of(Settings(temporal_address="127.0.0.1:7233")) == "127.0.0.1"
    assert machine.address_of(Settings(temporal_address="nowhere")) == ""


def test_a_docker_of_another_machine_offers_a_disk_that_is_not_counted() -> None:
    found = Machine(Settings()).complete(facts(), {**OVERLAY, "DockerRootDir": "/no/such"}, 0)
    assert (found.disk, found.disk_offered) == (None, None)


@pytest.mark.parametrize(("speed", "expected"), [("25000\n", 25_000), ("-1\n", None), (None, None)])
def test_the_link_of_the_default_route_counts(
    speed: str | None, expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes = tmp_path / "route"
    routes.write_text("Iface Destination\nbr0 0000A8C0 0\nens5 00000000 0\n")
    (tmp_path / "ens5").mkdir()
    if speed is not None:
        (tmp_path / "ens5" / "speed").write_text(speed)
    monkeypatch.setattr(machine, "ROUTES", routes)
    monkeypatch.setattr(machine, "LINKS", tmp_path)
    assert machine.link_speed() == expected


def test_gpus_are_asked_of_the_driver_first_and_else_seen_as_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = tmp_path / "dev"
    nodes.mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "null"):
        (nodes / name).touch()
    monkeypatch.setattr(machine, "NODES", nodes)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.gpus("auto") == [str(nodes / "nvidia0"), str(nodes / "nvidia1")]
    assert machine.gpus("none") == []
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho GPU-1\necho GPU-2\n")
    program.chmod(0o755)
    assert machine.gpus("auto") == ["GPU-1", "GPU-2"]


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"Driver": "btrfs"}, True),
        ({"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "xfs"]]}, True),
        (OVERLAY, False),
        ({"Driver": "vfs"}, False),
    ],
)
def test_quotas_are_there_where_the_storage_has_them(
    info: dict[str, Any], expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/a / ext4 rw 0 0\n/dev/b /data xfs rw,relatime,prjquota 0 0\n/dev/c /data2 xfs rw 0 0\n"
    )
    monkeypatch.setattr(machine, "MOUNTS", mounts)
    assert machine.has_quotas({**info, "DockerRootDir": "/data/docker"}) is expected
    plain = machine.has_quotas({**info, "DockerRootDir": "/data2/docker"})
    assert plain is (info["Driver"] == "btrfs")


def test_ec2_tells_zone_and_type_and_a_machine_that_cannot_ask_goes_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = Instance("i-1", "us-east-1", "us-east-1b", "m7i.large")
    monkeypatch.setattr(machine, "this_instance", lambda _: here)
    ask = Machine(Settings(host_metadata_url="http://127.0.0.1:1"))
    labels = ask.complete(facts(), OVERLAY, 0).labels
    assert (labels["zone"], labels["machine-type"]) == ("us-east-1b", "m7i.large")

    def away(_: str) -> Instance:
        raise PlatformError("nobody answers")

    monkeypatch.setattr(machine, "this_instance", away)
    assert "zone" not in ask.complete(facts(), OVERLAY, 0).labels


def test_elsewhere_nobody_is_asked_for_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(_: str) -> Instance:
        raise AssertionError("no EC2 machine asks")

    monkeypatch.setattr(machine, "on_ec2", lambda: False)
    monkeypatch.setattr(machine, "this_instance", asked)
    assert "zone" not in Machine(Settings()).complete(facts(), OVERLAY, 0).labels
