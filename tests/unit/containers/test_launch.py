import pytest

from fleetwide.containers.launch import create_request, docker_image, key_from_labels, labels
from fleetwide.errors import InvalidInput
from fleetwide.models.containers import AttemptKey, ContainerSpec, RunContainer

IMAGE = f"apps/hello@sha256:{'a' * 64}"


def attempt(**spec: object) -> RunContainer:
    return RunContainer(
        key=AttemptKey(workflow_id="task/1", run_id="r", index=4, attempt=2),
        host_id="h1",
        app="hello",
        image=IMAGE,
        container=ContainerSpec.model_validate({"image": IMAGE, **spec}),
        extra_env={"INDEX": "4"},
    )


def test_the_image_is_named_by_the_registrys_address() -> None:
    assert docker_image("http://127.0.0.1:5050", IMAGE) == f"127.0.0.1:5050/{IMAGE}"
    with pytest.raises(InvalidInput, match="registry_url"):
        docker_image("127.0.0.1", IMAGE)


def test_limits_become_the_engines() -> None:
    host = create_request(attempt(resources={"cpu": 1.5, "memory": "1GiB"}), "i", "p")["HostConfig"]
    assert host["NanoCpus"] == 1_500_000_000
    assert host["Memory"] == host["MemorySwap"] == 1024**3


def test_the_least_request_is_raised_to_the_engines_least() -> None:
    host = create_request(attempt(resources={"cpu": 0.001, "memory": "4MiB"}), "i", "p")
    assert host["HostConfig"]["NanoCpus"] == 10_000_000
    assert host["HostConfig"]["Memory"] == 6 * 1024**2


def test_the_platforms_environment_wins() -> None:
    body = create_request(attempt(env={"INDEX": "mine", "A": "b=c"}), "i", "p")
    assert sorted(body["Env"]) == ["A=b=c", "INDEX=4"]


def test_the_images_own_command_stays_unless_replaced() -> None:
    assert not {"Cmd", "Entrypoint"} & set(create_request(attempt(), "i", "p"))
    body = create_request(attempt(command=["a"], entrypoint=["b"]), "i", "p")
    assert (body["Cmd"], body["Entrypoint"]) == (["a"], ["b"])


def test_labels_name_the_attempt_and_lead_back_to_it() -> None:
    run = attempt()
    found = labels(run, "/state")
    assert key_from_labels(found) == run.key
    assert key_from_labels({"fleetwide.workflow_id": "x"}) is None
    assert key_from_labels({**found, "fleetwide.index": "many"}) is None


def test_a_container_is_confined() -> None:
    host = create_request(attempt(network="host"), "i", "p")["HostConfig"]
    assert host["NetworkMode"] == "host"
    assert not host["Privileged"]
    assert "no-new-privileges" in host["SecurityOpt"]
    assert "NET_RAW" in host["CapDrop"]
