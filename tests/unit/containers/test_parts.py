"""What the parts of a container's spec refuse, and that the field is named."""

from typing import Any

import pytest
from pydantic import ValidationError

from fleetwide.containers.company import Surroundings, folders, holder_request, in_company, parts
from fleetwide.models.containers import AttemptKey, ContainerSpec, RunContainer

IMAGE = "apps/hello:1"
DATA = {"name": "data", "kind": "shared", "size": "8MiB"}
MOUNT = {"volume": "data", "path": "/data"}
EXTRA = {"name": "side", "image": IMAGE}
FILE = {"from": "db", "as": {"file": "/etc/db"}}


def refusal(**fields: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        ContainerSpec.model_validate({"image": IMAGE, **fields})
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"volumes": [DATA]}, "data is mounted nowhere"),
        ({"mounts": [MOUNT]}, "no volume is called data; known: none"),
        ({"volumes": [DATA, DATA], "mounts": [MOUNT]}, "data is there twice"),
        ({"volumes": [DATA], "mounts": [MOUNT, MOUNT]}, "mounts: /data is there twice"),
        (
            {"volumes": [DATA], "mounts": [MOUNT], "security": {"scratch": {"/data": "1MiB"}}},
            "/data is there twice",
        ),
        (
            {
                "volumes": [{"name": "data"}],
                "mounts": [MOUNT],
                "extra_containers": [{**EXTRA, "mounts": [MOUNT]}],
            },
            "make it kind: shared",
        ),
        (
            {
                "volumes": [{**DATA, "size": "1GiB"}],
                "mounts": [MOUNT],
                "resources": {"disk": "100MB"},
            },
            "volumes hold 1073741824 bytes in all; resources.disk is 100000000",
        ),
        ({"volumes": [{"name": "d", "kind": "host"}]}, "needs the path"),
        ({"volumes": [{"name": "d", "path": "/srv"}]}, "path and writable are for kind host"),
        ({"volumes": [{"name": "d", "kind": "host", "path": "/srv/../etc"}]}, "path"),
        (
            {
                "volumes": [{"name": "d", "kind": "host", "path": "/srv"}],
                "mounts": [{"volume": "d", "path": "/d", "sub_path": "x"}],
            },
            "kind host: no sub_path",
        ),
        ({"mounts": [{**MOUNT, "sub_path": "../x"}]}, "sub_path"),
        ({"mounts": [{**MOUNT, "sub_path": "/x"}]}, "sub_path"),
        ({"mounts": [{**MOUNT, "path": "/proc/x"}]}, "nothing can be put into /proc"),
        ({"extra_containers": [EXTRA, EXTRA]}, "side is there twice"),
        ({"extra_containers": [{**EXTRA, "name": "main"}]}, "main is there twice"),
        ({"extra_containers": [{**EXTRA, "image": "Bad"}]}, "repository:tag"),
        (
            {"extra_containers": [{**EXTRA, "env": {"A": "x" * 33_000}}]},
            "the limit is 32768",
        ),
        (
            {"extra_containers": [{**EXTRA, "name": f"x{n}"} for n in range(9)]},
            "at most 8",
        ),
        ({"health": {}}, "exactly one of command, http, tcp, grpc, not 0"),
        (
            {"health": {"tcp": {"port": 1}, "http": {"port": 1}}},
            "exactly one of command, http, tcp, grpc, not 2",
        ),
        ({"health": {"tcp": {"port": 1}}, "network": "none"}, "needs a network"),
        ({"health": {"http": {"port": 1, "path": "x"}}}, "path"),
        ({"health": {"http": {"port": 1, "path": "/a\r\nHost: b"}}}, "path"),
        ({"secrets": {"db": {"from": "../x", "as": {"env": "A"}}}}, "from"),
        ({"secrets": {"db": {"from": "x", "as": {}}}}, "either env or file"),
        (
            {"env": {"A": "1"}, "secrets": {"db": {"from": "x", "as": {"env": "A"}}}},
            "the environment: A is there twice",
        ),
        ({"secrets": {"a": FILE, "b": FILE}}, "files of secrets: /etc/db is there twice"),
        (
            {
                "volumes": [DATA],
                "mounts": [{**MOUNT, "path": "/etc"}],
                "secrets": {"a": FILE},
            },
            "/etc/db lies in /etc",
        ),
    ],
)
def test_refused(fields: dict[str, Any], said: str) -> None:
    assert said in refusal(**fields)


def run(**fields: Any) -> RunContainer:
    return RunContainer(
        key=AttemptKey(workflow_id="task/x", run_id="r"),
        host_id="h",
        app="a",
        image="apps/hello@sha256:" + "0" * 64,
        container=ContainerSpec.model_validate({"image": IMAGE, **fields}),
        ports={"http": 21_000} if "resources" in fields else {},
    )


def test_a_spec_with_company_reads_what_it_writes() -> None:
    spec = run(secrets={"db": FILE}, extra_containers=[EXTRA]).container
    assert ContainerSpec.model_validate_json(spec.model_dump_json()) == spec
    assert '"from":"db"' in spec.model_dump_json()


def test_folders_come_before_those_in_them_and_whole_volumes_before_their_parts() -> None:
    asked = run(volumes=[DATA], mounts=[MOUNT, {**MOUNT, "path": "/p", "sub_path": "a/b"}])
    assert folders(asked) == ["data", "data/a", "data/a/b"]
    assert [part.sub_path for part in parts(asked)] == [None, "a/b"]


def test_ports_of_the_host_lead_to_the_holder_and_not_to_the_main_container() -> None:
    asked = run(resources={"ports": {"http": {"to": 80}}}, extra_containers=[EXTRA])
    holder = holder_request(asked, "p", "pause", "/group")
    assert holder["HostConfig"]["PortBindings"]["80/tcp"][0]["HostPort"] == "21000"
    body = {"ExposedPorts": {"80/tcp": {}}, "HostConfig": {"PortBindings": {"80/tcp": []}}}
    moved = in_company(body, asked, [], Surroundings("id", "/group", {}, frozenset()))
    assert "ExposedPorts" not in moved
    assert "PortBindings" not in moved["HostConfig"]
    assert moved["HostConfig"]["NetworkMode"] == "container:id"
