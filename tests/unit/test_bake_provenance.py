import json
from datetime import UTC, datetime
from typing import Any

from fleetwide.bakery.provenance import BUILD_TYPE, bake_statement
from fleetwide.baseos.provenance import BuildRun, check_provenance
from fleetwide.models.bakes import AppliedRecipe, DocumentBake, ReusableLayer
from fleetwide.models.os_locks import LockRef
from tests.unit.bakes import BASE, resolved
from tests.unit.test_bake_sbom import BAKED, DEPENDENCIES, DISK, WHEELS
from tests.unit.test_rebase import built

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
IMAGE, LOCK = "sha256:" + "f" * 64, "sha256:" + "0" * 64
RUN = BuildRun(
    builder_id="urn:example:builder",
    builder_versions={"fleetwide": "0.1.0"},
    invocation_id="bake/x/run",
    started_at=START,
    finished_at=START,
)
SECRETS: dict[str, Any] = {
    **WHEELS,
    "env": {"TOKEN": "hush", "LOG": "hush"},
    "parameters": {"password": "hush"},
}


def statement(**changes: Any) -> bytes:
    lock = LockRef(digest=LOCK, package_count=1, size=1, security_digest=LOCK, resolved_at=START)
    base = BASE.model_copy(update={"lock": lock, "disk": DISK})
    bake = resolved(base, **SECRETS).model_copy(
        update={
            "dependencies": DEPENDENCIES,
            "recipe": AppliedRecipe(reference="service:3"),
            **changes,
        }
    )
    return bake_statement(
        DocumentBake(
            bake=bake,
            built=built(),
            digest=IMAGE,
            disk=BAKED,
            started_at=START,
            finished_at=START,
        ),
        RUN,
    )


def definition(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(statement(**changes))["predicate"]["buildDefinition"]
    return found


def test_it_stands_for_image_layer_and_disk() -> None:
    names = [one["name"] for one in json.loads(statement())["subject"]]
    assert names == ["apps/hello:1.0.0", "layer.tar.gz", "disk.raw"]
    for digest in (IMAGE, built().layer.digest, DISK.digest):
        assert check_provenance(statement(), digest) == json.loads(statement())


def test_faces_that_were_not_baked_are_no_subjects() -> None:
    request = DocumentBake(bake=resolved(), disk=BAKED, started_at=START, finished_at=START)
    subjects = json.loads(bake_statement(request, RUN))["subject"]
    assert [one["name"] for one in subjects] == ["disk.raw"]


def test_the_request_is_told_without_its_secrets() -> None:
    told = definition()
    assert told["buildType"] == BUILD_TYPE
    spec = told["externalParameters"]["spec"]
    assert spec["env"] == ["LOG", "TOKEN"]
    assert spec["parameters"] == ["password"]
    assert spec["artifacts"][0]["url"] == "https://store.example/My_App.whl"
    assert spec["name"] == "hello"
    assert b"hush" not in statement()


def test_everything_that_went_in_is_named_by_its_digest() -> None:
    found = {one["name"]: one["digest"]["sha256"] for one in definition()["resolvedDependencies"]}
    assert found == {
        "base baseos:20261122.1": "b" * 64,
        "base disk baseos:20261122.1": "d" * 64,
        "base lock baseos:20261122.1": "0" * 64,
        "My_App-1.0-py3-none-any.whl": "1" * 64,
        "helper-2.0.tar.gz": "2" * 64,
        "Zope.Interface 7.1": "e" * 64,
        "hatchling 1.27": "e" * 64,
        "libpq5 15.1-0": "e" * 64,
    }


def test_what_the_platform_decided_is_told() -> None:
    decided = definition()["internalParameters"]
    assert decided["recipe"] == "service:3"
    assert decided["base"] == "baseos:20261122.1"
    assert decided["sourceDateEpoch"] == BASE.created_epoch
    assert "layerOfBake" not in decided
    taken = ReusableLayer(bake_key="9" * 64, repository="apps/hello", built=built())
    assert definition(reusable=taken)["internalParameters"]["layerOfBake"] == "9" * 64


def test_the_same_bake_has_the_same_statement() -> None:
    assert statement() == statement()
