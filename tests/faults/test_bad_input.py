"""Whatever is wrong with an input: Failed within seconds, one short error, the same words twice."""

import json
from typing import Any

import httpx2
import pytest

from fleetwide.models.os_releases import OSRelease
from tests.platforms import Platform

pytestmark = pytest.mark.integration

WITHIN_SECONDS = 5.0
CONTAINER = {"image": "baseos/baseos:1", "resources": {"cpu": 0.25, "memory": "32MiB"}}
GOOD: dict[str, dict[str, Any]] = {
    "OSImageBuild": {"name": "x", "suite": "bookworm"},
    "Bake": {
        "name": "x",
        "version": "1",
        "base": "baseos:stable",
        "artifacts": [{"type": "deb", "sha256": "0" * 64, "filename": "x.deb"}],
    },
    "ContainerTask": {"app": "x", "container": CONTAINER},
    "BatchJob": {"app": "x", "container": CONTAINER},
}
ROUTES = {
    "OSImageBuild": "/v1/os/builds",
    "Bake": "/v1/bakes",
    "ContainerTask": "/v1/tasks",
    "BatchJob": "/v1/batch/jobs",
}
TYPES = list(GOOD)


def both_answers(platform: Platform, type_: str, spec: Any, status: int) -> str:
    """Start it both ways; both say the same words, which are returned."""
    workflow_id = f"bad/{type_}/{abs(hash(json.dumps(spec)))}"
    platform.start(type_, workflow_id, json.dumps(spec))
    ended = platform.ended(workflow_id, WITHIN_SECONDS)
    assert ended.status == "FAILED"
    answer = httpx2.post(platform.api_url + ROUTES[type_], json=spec)
    problem = answer.json()
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] == ended.failure_type
    assert problem["detail"] == ended.failure
    assert len(ended.failure) < 300
    return ended.failure


@pytest.mark.parametrize("type_", TYPES)
def test_an_unknown_key(platform: Platform, stable: OSRelease, type_: str) -> None:
    assert stable.image_digest
    words = both_answers(platform, type_, {**GOOD[type_], "nmae": "y"}, 422)
    assert words.startswith("nmae: unknown key")


@pytest.mark.parametrize("type_", TYPES)
def test_a_missing_field(platform: Platform, type_: str) -> None:
    spec = dict(GOOD[type_])
    field = next(iter(spec))
    del spec[field]
    assert both_answers(platform, type_, spec, 422) == f"{field}: missing"


@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("spec", [[], "text", 3, True], ids=["list", "text", "number", "boolean"])
def test_something_else_than_an_object(platform: Platform, type_: str, spec: Any) -> None:
    assert "must be an object" in both_answers(platform, type_, spec, 422)


@pytest.mark.parametrize("type_", ["ContainerTask", "BatchJob"])
def test_a_negative_cpu(platform: Platform, type_: str) -> None:
    bad = {**CONTAINER, "resources": {"cpu": -1}}
    words = both_answers(platform, type_, {**GOOD[type_], "container": bad}, 422)
    assert words == "container.resources.cpu: must be at least 0.001 (given: -1)"


@pytest.mark.parametrize("type_", ["ContainerTask", "BatchJob"])
def test_an_image_that_does_not_exist(platform: Platform, type_: str) -> None:
    missing = {**CONTAINER, "image": "apps/nothing:1"}
    words = both_answers(platform, type_, {**GOOD[type_], "container": missing}, 404)
    assert words == "container.image: apps/nothing:1 is not in the registry"


def test_a_base_that_does_not_exist(platform: Platform, stable: OSRelease) -> None:
    assert stable.image_digest
    words = both_answers(platform, "Bake", {**GOOD["Bake"], "base": "nothing:stable"}, 404)
    assert "nothing:stable" in words


@pytest.mark.parametrize("type_", [*TYPES, "Host"])
@pytest.mark.parametrize("inputs", [[], ["null"], ["{}", "{}"]], ids=["none", "null", "two"])
def test_another_number_of_inputs(platform: Platform, type_: str, inputs: list[str]) -> None:
    workflow_id = f"bad/{type_}/inputs-{len(inputs)}-{''.join(inputs)[:4]}"
    platform.start(type_, workflow_id, *inputs)
    ended = platform.ended(workflow_id, WITHIN_SECONDS)
    assert (ended.status, ended.failure_type) == ("FAILED", "InvalidInput")
    assert ended.failure.startswith("input: ")
    assert "object" in ended.failure


@pytest.mark.parametrize("type_", TYPES)
def test_malformed_json(platform: Platform, type_: str) -> None:
    refused = platform.temporal("workflow", "start", "--type", type_, "--input", '{"app":', code=1)
    assert "JSON" in refused
    answer = httpx2.post(
        platform.api_url + ROUTES[type_],
        content='{"app":',
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 422
    assert answer.json()["code"] == "InvalidInput"


def test_a_workflow_type_that_does_not_exist(platform: Platform) -> None:
    platform.start("ContainerTusk", "bad/type", "{}")
    ended = platform.ended("bad/type", WITHIN_SECONDS)
    assert (ended.status, ended.failure_type) == ("FAILED", "InvalidInput")
    assert "ContainerTask" in ended.failure
