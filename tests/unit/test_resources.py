"""Limits of a container's resources: what is refused names its limit; what is left out is usual."""

from typing import Any, TypeVar

import pytest
from pydantic import BaseModel, ValidationError

from fleetwide.containers.offers import (
    Kept,
    device_ids,
    disk_offer,
    label_pairs,
    port_range,
    reserve_of,
)
from fleetwide.containers.placement import Amounts, shape_of
from fleetwide.errors import InvalidInput
from fleetwide.models.containers import ContainerSpec
from fleetwide.models.hosts import HostReserve, HostSpec
from fleetwide.models.placement import StoredContainer
from fleetwide.models.resources import Port, Resources
from fleetwide.validation import invalid_input

GB = 1000**3
Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], values: dict[str, Any]) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid_input(error, model) from error


def refusal(resources: dict[str, Any], **spec: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        parse(ContainerSpec, {"image": "apps/x:1", "resources": resources, **spec})
    return str(caught.value)


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"cpu": 97}, "at most 96"),
        ({"cpu": 0.0005}, "at least 0.001"),
        ({"memory": "2TiB"}, f"at most {1024**4}"),
        ({"memory": "1MiB"}, f"at least {4 * 1024**2}"),
        ({"disk": "1.6TB"}, "at most 1550000000000"),
        ({"disk": "1MB"}, "at least 64000000"),
        ({"network": 400_001}, "at most 400000"),
        ({"network": -1}, "at least 0"),
        ({"gpus": 17}, "at most 16"),
        ({"gpus": 1.5}, "whole number"),
        ({"ports": [f"p{number}" for number in range(17)]}, "16"),
        ({"ports": {"http": {"static": 80}}}, "at least 1024"),
        ({"ports": {"http": {"static": 65_536}}}, "at most 65535"),
        ({"ports": {"HTTP": {}}}, "ports"),
        ({"ports": {"a": {"static": 9000}, "b": {"static": 9000}}}, "same port of the host"),
        ({"ports": {"a": {"to": 80}, "b": {"to": 80}}}, "both listen on port 80"),
    ],
)
def test_over_limit_input_names_the_limit(resources: dict[str, Any], said: str) -> None:
    assert said in refusal(resources)


def test_ports_and_a_rate_need_a_network_of_the_containers_own() -> None:
    assert "needs the network bridge" in refusal({"network": 10}, network="host")
    assert "needs a network" in refusal({"ports": ["http"]}, network="none")
    assert "ports.http.to" in refusal({"ports": {"http": {"to": 80}}}, network="host")
    spec = {"image": "apps/x:1", "resources": {"ports": ["http"]}, "network": "host"}
    assert parse(ContainerSpec, spec).resources.free_ports == 1


def test_what_is_left_out_is_usual_and_small_tasks_get_a_small_disk() -> None:
    assert Resources().disk_bytes == 2 * GB
    assert Resources(cpu=4).disk_bytes == 8 * GB
    assert Resources(cpu=0.001).disk_bytes == 64_000_000
    assert (Resources().network, Resources().gpus, Resources().ports) == (0, 0, {})


def test_a_job_that_is_older_than_a_resource_asks_for_none_of_it() -> None:
    old = StoredContainer.model_validate({"resources": {"cpu": 2, "memory": 5}})
    assert shape_of(old).amounts == Amounts(2000, 5)
    new = StoredContainer.model_validate(
        {
            "resources": Resources(cpu=2, network=7, gpus=1, ports={"a": Port()}).model_dump(
                mode="json"
            )
        }
    )
    shape = shape_of(new, f"apps/x@sha256:{'a' * 64}")
    assert shape.amounts == Amounts(2000, 512 * 1024**2, 4 * GB, 7, 1)
    assert (shape.any_ports, shape.ports, shape.image) == (1, frozenset(), "a" * 16)


def test_a_reserve_is_a_part_with_a_least_and_a_most() -> None:
    usual = reserve_of(Kept(), 100 * GB, 100 * GB)
    assert usual == HostReserve(memory=10 * GB, disk=5 * GB)
    assert reserve_of(Kept(), GB, GB) == HostReserve(memory=512 * 1024**2, disk=GB)
    assert reserve_of(Kept(), GB, 4000 * GB).disk == 20 * GB
    own = reserve_of(Kept(cpu=0.5, memory=1, disk=2, network=3), GB, GB)
    assert own == HostReserve(cpu=0.5, memory=1, disk=2, network=3)


def test_a_disk_offer_does_not_shrink_by_what_containers_wrote_already() -> None:
    reserve = HostReserve(disk=5 * GB)
    assert disk_offer(50 * GB, 0, reserve) == disk_offer(30 * GB, 20 * GB, reserve) == 45 * GB
    assert disk_offer(GB, 0, reserve) == 0


def test_settings_of_a_host_are_read_or_refused_with_an_example() -> None:
    assert port_range("100-200") == (100, 200)
    assert label_pairs("a=1, b=x=y,") == {"a": "1", "b": "x=y"}
    assert (device_ids("auto"), device_ids("none")) == (None, [])
    assert device_ids("/dev/fuse, GPU-1") == ["/dev/fuse", "GPU-1"]
    with pytest.raises(InvalidInput, match="20000-32000"):
        port_range("20000")
    with pytest.raises(InvalidInput, match="name=value"):
        label_pairs("a")
    with pytest.raises(InvalidInput, match="last_port must be 30000 or more"):
        parse(
            HostSpec,
            {"host_id": "h", "cpu": 1, "memory": "1GiB", "first_port": 30_000, "last_port": 20_000},
        )
