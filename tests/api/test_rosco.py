"""Spinnaker's bakery surface, asked as orca and gate ask it, on a whole control plane."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from fleetwide.errors import SmokeTestFailed
from fleetwide.providers.bake_logs import BakeLog, part_key
from fleetwide.providers.objects import open_object_store
from tests.api.harness import Plane, sha256, wait_until

REGION = "us-west-2"
BASE = "spinbase"


@pytest.fixture(scope="module", autouse=True)
def base(http: TestClient) -> str:
    """An OS line with both faces and an AMI, stable in its first release."""
    line = {
        "name": BASE,
        "suite": "bookworm",
        "version": "1",
        "targets": ["container", "vm"],
        "ami": {"regions": [REGION]},
    }
    assert http.post("/v1/os/builds", params={"wait": 30}, json=line).status_code in (200, 202)
    promoted = http.post(f"/v1/os/releases/{BASE}/candidate/promote", json={})
    assert promoted.status_code == 200, promoted.text
    return BASE


@pytest.fixture(autouse=True)
def well(plane: Plane) -> Iterator[None]:
    """Whatever a test did to the builder and the cloud is undone."""
    yield
    for script in (plane.bakes, plane.baked):
        script.stuck_at.clear()
        script.fail_at.clear()
    plane.baked.away.clear()


def upload(http: TestClient, filename: str, data: bytes = b"") -> str:
    content = data or filename.encode()
    http.post("/v1/artifacts", params={"filename": filename}, content=content).raise_for_status()
    return sha256(content)


def orca(package: str, **changes: Any) -> dict[str, Any]:
    """The body that orca makes of a bake stage."""
    known: dict[str, Any] = {
        "user": "ada@example.com",
        "package": package,
        "package_artifacts": [],
        "build_host": "http://jenkins.example/",
        "job": "hodor-master",
        "build_number": "17",
        "commit_hash": "170cdbd",
        "build_info_url": "http://jenkins.example/job/hodor-master/17/",
        "cloud_provider_type": "docker",
        "base_label": "release",
        "base_os": BASE,
        "base_name": None,
        "base_ami": None,
        "vm_type": None,
        "store_type": "docker",
        "enhanced_networking": None,
        "ami_name": None,
        "ami_suffix": None,
        "account_name": "unknown to us",
    }
    return {**known, **changes}


AWS = {"cloud_provider_type": "aws", "vm_type": "hvm", "store_type": "ebs"}


def ask(
    http: TestClient, body: dict[str, Any], region: str = REGION, rebake: str | None = None
) -> dict[str, Any]:
    params = {"rebake": rebake} if rebake else {}
    answer = http.post(f"/api/v1/{region}/bake", json=body, params=params)
    assert answer.status_code == 200, answer.text
    status: dict[str, Any] = answer.json()
    return status


def status_of(http: TestClient, status_id: str, region: str = REGION) -> dict[str, Any]:
    answer = http.get(f"/api/v1/{region}/status/{status_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def settle(http: TestClient, status: dict[str, Any], region: str = REGION) -> dict[str, Any]:
    """Poll like orca's monitor task until the bake is not running any more."""
    wait_until(lambda: status_of(http, status["id"], region)["state"] != "RUNNING", "it ends")
    return status_of(http, status["id"], region)


def bake(
    http: TestClient, body: dict[str, Any], region: str = REGION, **more: Any
) -> dict[str, Any]:
    """The details of a bake that succeeds."""
    told = settle(http, ask(http, body, region, **more), region)
    assert (told["state"], told["result"]) == ("COMPLETED", "SUCCESS"), told
    answer = http.get(f"/api/v1/{region}/bake/{told['resource_id']}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_bake_runs_to_its_image_and_the_same_request_is_the_same_bake(
    http: TestClient, plane: Plane
) -> None:
    digest = upload(http, "hodor_1.1-h17.170cdbd_all.deb")
    plane.bakes.stuck_at.add("build_layer")
    first = ask(http, orca("hodor"))
    assert (first["state"], "result" in first) == ("RUNNING", False)
    assert ask(http, orca("hodor"))["id"] == first["id"]
    plane.bakes.stuck_at.clear()
    settle(http, first)
    again = ask(http, orca("hodor_1.1-h17.170cdbd_all"))
    assert (again["id"], again["state"], again["result"]) == (first["id"], "COMPLETED", "SUCCESS")
    found = http.get(f"/api/v1/{REGION}/bake/{again['resource_id']}").json()
    image = http.get("/v1/images/hodor/1.1-h17.170cdbd").json()
    assert found["ami"].endswith(f"/apps/hodor@{image['digest']}")
    assert found["artifact"]["reference"] == found["ami"]
    assert found["artifact"]["metadata"]["build_number"] == "17"
    assert found["base_ami"] == f"{BASE}:1"
    assert (image["owner"], image["metadata"]["fleetwide.build.job"]) == (
        "ada@example.com",
        "hodor-master",
    )
    assert digest in image["metadata"]["fleetwide.bake.artifacts"]


def test_a_newer_upload_or_a_moved_base_is_a_new_image(http: TestClient) -> None:
    line = {"name": "moving", "suite": "bookworm"}
    for version in ("1", "2"):
        http.post("/v1/os/builds", params={"wait": 30}, json={**line, "version": version})
    http.post("/v1/os/releases/moving/1/promote", json={})
    body = orca("mover", base_os="moving")
    upload(http, "mover_1_all.deb")
    first = bake(http, body)
    upload(http, "mover_2_all.deb")
    second = bake(http, body)
    assert http.post("/v1/os/releases/moving/2/promote", json={}).status_code == 200
    third = bake(http, body)
    assert len({one["ami"] for one in (first, second, third)}) == 3
    assert (second["base_ami"], third["base_ami"]) == ("moving:1", "moving:2")


def test_rebake_bakes_anew_and_a_deleted_bake_too(http: TestClient, plane: Plane) -> None:
    upload(http, "again_1_all.deb")
    body = orca("again")
    first = settle(http, ask(http, body))
    built = plane.bakes.steps.count("build_layer")
    second = settle(http, ask(http, body, rebake="1"))
    assert second["id"] != first["id"]
    assert plane.bakes.steps.count("build_layer") == built + 1
    assert ask(http, body)["id"] == second["id"]
    deleted = http.request("DELETE", f"/api/v1/{REGION}/bake", json=body)
    assert (deleted.status_code, deleted.text.startswith("Deleted bake '")) == (200, True)
    third = settle(http, ask(http, body))
    assert plane.bakes.steps.count("build_layer") == built + 2
    assert ask(http, body)["id"] == third["id"]
    assert status_of(http, first["id"])["result"] == "SUCCESS"


def test_a_rebake_joins_the_build_that_runs(http: TestClient, plane: Plane) -> None:
    upload(http, "meets_1_all.deb")
    body = orca("meets", **AWS)
    begun = plane.bakes.steps.count("build_disk")
    plane.bakes.stuck_at.add("build_disk")
    first = ask(http, body)
    wait_until(lambda: plane.bakes.steps.count("build_disk") > begun, "it builds")
    second = ask(http, body, rebake="1")
    # Its dependencies are pinned by now: the request has another key than the run was started by.
    third = ask(http, body, "eu-west-1")
    plane.bakes.stuck_at.clear()
    assert second["id"] == first["id"]
    assert third["id"] == first["id"].replace(REGION, "eu-west-1")
    assert settle(http, first)["result"] == "SUCCESS"
    assert settle(http, third, "eu-west-1")["result"] == "SUCCESS"
    assert plane.bakes.steps.count("build_disk") == begun + 1


def test_what_was_never_baked_cannot_be_deleted(http: TestClient) -> None:
    upload(http, "unbaked_1_all.deb")
    answer = http.request("DELETE", f"/api/v1/{REGION}/bake", json=orca("unbaked"))
    assert answer.status_code == 404
    gone = {"pipelineExecutionIds": ["01J"]}
    assert http.post("/api/v1/bakes/delete-requests", json=gone).status_code == 204


def test_a_failing_bake_is_canceled_with_failure_and_says_why_in_its_log(
    http: TestClient, plane: Plane
) -> None:
    upload(http, "broken_1_all.deb")
    plane.bakes.fail_at["smoke_test"] = SmokeTestFailed("it ended with 1", hint="--no-smoke")
    told = settle(http, ask(http, orca("broken")))
    assert (told["state"], told["result"]) == ("CANCELED", "FAILURE")
    assert "it ended with 1" in told["messages"][0]
    log = http.get(f"/api/v1/{REGION}/logs/{told['id']}").json()["logsContent"]
    assert "at testing (SmokeTestFailed): it ended with 1\nhint: --no-smoke" in log
    assert http.get(f"/api/v1/{REGION}/bake/{told['resource_id']}").status_code == 404
    plane.bakes.fail_at.clear()
    anew = ask(http, orca("broken"))
    assert anew["id"] != told["id"]
    assert settle(http, anew)["result"] == "SUCCESS"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_running_bake_is_cancelled_once(http: TestClient, plane: Plane, method: str) -> None:
    upload(http, f"stopped{method.lower()}_1_all.deb")
    plane.bakes.stuck_at.add("build_layer")
    begun = plane.bakes.steps.count("build_layer")
    status = ask(http, orca(f"stopped{method.lower()}"))
    wait_until(lambda: plane.bakes.steps.count("build_layer") > begun, "it builds")
    path = f"/api/v1/{REGION}/cancel/{status['id']}"
    answer = http.request(method, path)
    assert (answer.status_code, answer.text) == (200, f"Canceled bake '{status['id']}'.")
    told = settle(http, status)
    assert (told["state"], told["result"]) == ("CANCELED", "FAILURE")
    assert http.request(method, path).status_code == 409


def test_a_bake_that_was_terminated_does_not_run_for_ever(http: TestClient, plane: Plane) -> None:
    upload(http, "killed_1_all.deb")
    plane.bakes.stuck_at.add("build_layer")
    status = ask(http, orca("killed"))
    key = status["id"].partition(".")[0]
    plane.call(lambda client: client.get_workflow_handle(f"bake/{key}").terminate("gone"))
    told = settle(http, status)
    assert (told["state"], told["result"]) == ("CANCELED", "FAILURE")
    assert told["messages"]


def test_logs_are_one_text(http: TestClient, plane: Plane) -> None:
    upload(http, "logged_1_all.deb")
    status = settle(http, ask(http, orca("logged")))
    path = f"/api/v1/{REGION}/logs"
    assert http.get(f"{path}/{status['id']}").status_code == 404
    run_id = status["id"].split(".")[1]
    log = BakeLog(open_object_store(plane.settings), part_key(run_id, 1, "building", 1))
    log.line("hällo")
    log.close()
    assert http.get(f"{path}/{status['id']}").json() == {"logsContent": "hällo\n"}
    details = http.get(f"/api/v1/{REGION}/bake/{status['id']}").json()
    digest = details["ami"].partition("@")[2]
    assert http.get(f"{path}/image/{digest}").json() == {"logsContent": "hällo\n"}


@pytest.mark.parametrize(
    "status_id",
    ["x", "0" * 64, f"{'0' * 64}.5f4f6d1e-0000-4000-8000-000000000000", "%2e%2e", "a" * 200],
)
def test_an_unknown_bake_is_not_found_anywhere(http: TestClient, status_id: str) -> None:
    for part in ("status", "bake", "logs", "cancel", "logs/image"):
        answer = http.get(f"/api/v1/{REGION}/{part}/{status_id}")
        assert answer.status_code == 404, part
    assert http.get(f"/api/v1/{REGION}/status/x").json()["messages"][0].startswith("there is no")


def test_a_run_of_another_bake_is_not_this_bakes(http: TestClient) -> None:
    upload(http, "mixed_1_all.deb")
    known = settle(http, ask(http, orca("mixed")))["id"]
    assert http.get(f"/api/v1/{REGION}/status/{'1' * 64}{known[64:]}").status_code == 404


def test_an_ami_is_baked_shared_and_copied(http: TestClient, plane: Plane) -> None:
    upload(http, "disk_1_all.deb")
    attributes = {"copy_to": "eu-west-1", "share_with": "123456789012"}
    body = orca("disk", **AWS, extended_attributes=attributes)
    found = bake(http, body)
    assert found["artifact"]["type"] == "aws/image"
    assert found["ami"].startswith("ami-")
    assert found["ami"].endswith(f"-{REGION}")
    assert sorted(found["regions"]) == ["eu-west-1", REGION]
    assert found["base_ami"].startswith("ami-")
    assert found["image_name"].startswith("disk-1-")
    assert plane.baked.shared >= {"eu-west-1", REGION}
    [here] = [one for one in found["artifacts"] if one["location"] == "eu-west-1"]
    assert here["reference"] == found["ami"].replace(REGION, "eu-west-1")


def test_a_bake_in_many_regions_at_once_is_one_build_and_an_ami_in_each(
    http: TestClient, plane: Plane
) -> None:
    upload(http, "everywhere_1_all.deb")
    body = orca("everywhere", **AWS)
    built = plane.bakes.steps.count("build_disk")
    regions = ("us-west-2", "eu-west-1", "ap-south-1")
    with ThreadPoolExecutor(len(regions)) as threads:
        found = list(threads.map(lambda region: bake(http, body, region), regions))
    copies = [
        one["ami"].removesuffix(f"-{region}") for one, region in zip(found, regions, strict=True)
    ]
    assert len(set(copies)) == 1
    assert plane.bakes.steps.count("build_disk") == built + 1
    # A region that comes later gets a copy.
    assert bake(http, body, "us-east-1")["ami"] == f"{copies[0]}-us-east-1"
    assert plane.bakes.steps.count("build_disk") == built + 1


def test_a_region_that_fails_is_told_and_tried_again_by_the_next_request(
    http: TestClient, plane: Plane
) -> None:
    upload(http, "faraway_1_all.deb")
    body = orca("faraway", **AWS)
    bake(http, body)
    plane.baked.away.add("eu-west-1")
    told = settle(http, ask(http, body, "eu-west-1"), "eu-west-1")
    assert (told["state"], told["result"]) == ("CANCELED", "FAILURE")
    assert "eu-west-1 takes no copies" in told["messages"][0]
    plane.baked.away.clear()
    assert status_of(http, told["id"], "eu-west-1")["state"] == "CANCELED"
    assert bake(http, body, "eu-west-1")["ami"].endswith("-eu-west-1")


def test_an_ami_of_an_os_release_is_a_base(http: TestClient) -> None:
    upload(http, "onami_1_all.deb")
    base_ami = bake(http, orca("onami", **AWS))["base_ami"]
    body = orca("onami", **AWS, base_os=None, base_ami=base_ami)
    assert bake(http, body)["base_ami"] == base_ami
    strange = http.post(f"/api/v1/{REGION}/bake", json={**body, "base_ami": "ami-0"})
    assert (strange.status_code, strange.json()["code"]) == (404, "NotFound")


def test_artifacts_come_by_address_and_digest_or_are_refused(http: TestClient) -> None:
    told = {
        "type": "deb",
        "name": "remote",
        "version": "1",
        "reference": "https://repo.example/remote_1_all.deb",
    }
    body = orca("remote curl", package_artifacts=[told])
    answer = http.post(f"/api/v1/{REGION}/bake", json=body)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "InvalidInput")
    assert problem["fields"][0]["field"] == "package_artifacts[0].metadata.sha256"
    assert "#sha256=" in problem["messages"][0]
    pinned = {**told, "metadata": {"sha256": "a" * 64}}
    found = bake(http, orca("remote curl", package_artifacts=[pinned]))
    assert found["image_name"].endswith("/apps/remote")


def test_errors_have_what_orca_reads_and_our_problem(http: TestClient) -> None:
    answer = http.post(f"/api/v1/{REGION}/bake", json=orca("never-uploaded"))
    told = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert told["message"] == told["detail"]
    assert (told["error"], told["status"]) == (told["title"], 422)
    assert told["messages"] == [f"{told['detail']}; hint: {told['hint']}"]


def test_a_base_that_there_is_not_ends_orcas_stage_with_a_sentence(http: TestClient) -> None:
    upload(http, "baseless_1_all.deb")
    for changes in ({"base_os": "no-such-line"}, {"base_label": "previous"}):
        answer = http.post(f"/api/v1/{REGION}/bake", json=orca("baseless", **changes))
        # Orca takes a 404 without messages for a reason to ask again and again.
        assert answer.status_code == 404
        assert "there is no OS release" in answer.json()["messages"][0]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 422),
        (b"[]", 422),
        (b'{"package_artifacts": "x"}', 422),
        (b'{"extended_attributes": "hunter2"}', 422),
        (
            b'{"base_os":"spinbase","package":"known","extended_attributes":{"copy_to":"hunter2"}}',
            422,
        ),
        (b'{"base_os": "spinbase", "package": "\\u0000 \\ud800 %"}', 422),
        (b'{"base_os": "\\ud800"}', 422),
    ],
)
def test_bad_bodies_are_told_and_attributes_are_not_shown(
    http: TestClient, body: bytes, status: int
) -> None:
    upload(http, "known_1_all.deb")
    headers = {"content-type": "application/json"}
    answer = http.post(f"/api/v1/{REGION}/bake", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["messages"]
    assert "hunter2" not in answer.text


def test_gate_sees_the_bases_of_each_provider(http: TestClient) -> None:
    by_provider = {one["cloudProvider"]: one for one in http.get("/bakeOptions").json()}
    assert set(by_provider) == {"aws", "docker"}
    assert by_provider["aws"] == http.get("/bakeOptions/aws").json()
    [known] = [one for one in by_provider["aws"]["baseImages"] if one["id"] == BASE]
    assert (known["packageType"], known["vmTypes"]) == ("DEB", ["hvm"])
    assert "bookworm" in known["detailedDescription"]
    assert http.get(f"/bakeOptions/aws/baseImages/{BASE}").json() == known
    for path in ("/bakeOptions/gce", "/bakeOptions/aws/baseImages/none"):
        missing = http.get(path)
        assert (missing.status_code, bool(missing.json()["messages"])) == (404, True)


def test_a_file_gives_the_bases_the_names_that_pipelines_use(
    http: TestClient, plane: Plane, tmp_path: Path
) -> None:
    upload(http, "mapped_1_all.deb")
    path = tmp_path / "bases.yaml"
    path.write_text(
        f"default: trusty\nbases:\n  trusty: {{line: {BASE}}}\n  gone: {{line: nowhere}}\n"
    )
    settings = plane.settings.model_copy(update={"rosco_bases": path})
    with TestClient(create_app(settings)) as mapped:
        [only] = mapped.get("/bakeOptions/docker").json()["baseImages"]
        assert (only["id"], f"{BASE}:1" in only["detailedDescription"]) == ("trusty", True)
        assert bake(mapped, orca("mapped", base_os=None))["base_ami"] == f"{BASE}:1"
        path.write_text("bases: [")
        broken = mapped.get("/bakeOptions")
    assert broken.status_code == 500
    assert "neither YAML nor JSON" in broken.json()["messages"][0]
