"""Spinnaker's requests as bakes of ours, and our bakes in its words: pure."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from fleetwide.bakery.artifact_names import take_apart
from fleetwide.bakery.rosco import base_wanted, provider_of, spec_of
from fleetwide.bakery.rosco_answers import (
    ENDS,
    SeenImage,
    details_of,
    failure_lines,
    status_of,
)
from fleetwide.bakery.rosco_artifacts import Upload, Wanted, wanted
from fleetwide.errors import InvalidInput, PlatformError
from fleetwide.models.bakery import ArtifactType, BakeSpec
from fleetwide.models.bakes import ENDED, BakedImage, BakeFailure, BakeState
from fleetwide.models.baseos import Target
from fleetwide.models.os_releases import AmiImage
from fleetwide.models.rosco import RoscoBases, RoscoRequest, RoscoResult, RoscoState
from fleetwide.providers.rosco_bases import load_bases
from fleetwide.settings import Settings
from tests.unit.bakes import bake_spec

# What orca sends for a bake stage: every field of its model, most of them null.
ORCA: dict[str, Any] = {
    "user": "ada@example.com",
    "package": "hodor",
    "package_artifacts": [],
    "build_host": "http://jenkins.example/",
    "job": "hodor-master",
    "build_number": "17",
    "commit_hash": "170cdbd",
    "build_info_url": "http://jenkins.example/job/hodor-master/17/",
    "cloud_provider_type": "aws",
    "base_label": "release",
    "base_os": "baseos",
    "base_name": None,
    "base_ami": None,
    "vm_type": "hvm",
    "store_type": "ebs",
    "enhanced_networking": False,
    "ami_name": None,
    "ami_suffix": "20261122",
    "upgrade": True,
    "template_file_name": "aws-ebs.json",
    "request_id": "5f4f6d1e-0000-4000-8000-000000000000",
    "somethingNew": {"any": ["thing"]},
}
SHA = "a" * 64
CONTENT = Wanted(
    [
        bake_spec(
            artifacts=[{"type": "deb", "sha256": SHA, "filename": "hodor_1.1-h17.170cdbd_all.deb"}]
        ).artifacts[0]
    ],
    [],
)


def request(**changes: Any) -> RoscoRequest:
    return RoscoRequest.model_validate({**ORCA, **changes})


def shelf(*filenames: str) -> Any:
    """Uploads of these names, newest first, each with a digest of its own."""

    def uploads(_words: str) -> Iterable[Upload]:
        for number, filename in enumerate(filenames, 1):
            yield Upload(f"{number:064x}", take_apart(filename))

    return uploads


def refusal(work: Any, *arguments: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        work(*arguments)
    return caught.value


def spec(**changes: Any) -> BakeSpec:
    return spec_of(request(**changes), "us-west-2", "baseos:stable", CONTENT)


def test_a_request_of_orca_is_a_bake_for_one_region() -> None:
    made = spec()
    assert (made.name, made.version, made.targets) == ("hodor", "1.1-h17.170cdbd", [Target.VM])
    assert made.ami is not None
    assert made.ami.regions == ["us-west-2"]
    assert made.owner == "ada@example.com"
    build = made.build
    assert (build.job, build.number, build.commit) == ("hodor-master", "17", "170cdbd")
    assert (build.host, build.url) == (ORCA["build_host"], ORCA["build_info_url"])


def test_a_request_for_docker_is_a_container_bake() -> None:
    attributes = {"docker_target_image_tag": "2.0", "recipe": "service:3", "recipe_port": 80}
    made = spec(
        cloud_provider_type="docker",
        store_type="docker",
        ami_name="Hodor",
        extended_attributes=attributes,
    )
    assert (made.name, made.version, made.targets) == ("hodor", "2.0", [Target.CONTAINER])
    assert (made.ami, made.recipe, made.parameters) == (None, "service:3", {"port": "80"})


@pytest.mark.parametrize(
    "attributes",
    [
        {"copy_to": "eu-west-1, us-west-2,us-east-1", "share_with": "1" * 12},
        {"copy_to": ["eu-west-1", "us-east-1"], "share_with": ["1" * 12]},
        {"copy_to_1": "eu-west-1", "copy_to_2": "us-east-1", "share_with_1": int("1" * 12)},
    ],
)
def test_copies_and_shares_come_from_extended_attributes(attributes: dict[str, Any]) -> None:
    ami = spec(extended_attributes=attributes).ami
    assert ami is not None
    assert (ami.regions, ami.accounts) == (["us-west-2", "eu-west-1", "us-east-1"], ["1" * 12])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"commit_hash": "not hex"}, "commit_hash"),
        ({"build_info_url": "ftp://x"}, "build_info_url"),
        ({"user": "x" * 300}, "user"),
        ({"ami_name": "a b"}, "ami_name"),
        ({"extended_attributes": {"copy_to": "hunter2"}}, "extended_attributes.copy_to"),
        ({"extended_attributes": {"share_with": "hunter2"}}, "extended_attributes.share_with"),
        ({"extended_attributes": {"recipe": "hunter2!"}}, "extended_attributes.recipe"),
    ],
)
def test_what_is_wrong_is_told_by_the_clients_own_field_and_attributes_are_not_shown(
    changes: dict[str, Any], field: str
) -> None:
    told = refusal(lambda: spec(**changes))
    assert [fault.field for fault in told.fields] == [field]
    assert "hunter2" not in str(told)
    assert not any("hunter2" in str(fault) for fault in told.fields)


def test_a_region_that_is_none_is_told() -> None:
    told = refusal(spec_of, request(), "nowhere", "baseos:stable", CONTENT)
    assert [fault.field for fault in told.fields] == ["region"]


@pytest.mark.parametrize(
    ("changes", "provider"),
    [
        ({"cloud_provider_type": None}, "aws"),
        ({"cloud_provider_type": None, "store_type": "docker"}, "docker"),
        ({"cloud_provider_type": "docker", "store_type": None, "vm_type": "pv"}, "docker"),
        ({"package_type": "deb"}, "aws"),
    ],
)
def test_the_provider_is_aws_unless_it_is_docker(changes: dict[str, Any], provider: str) -> None:
    assert provider_of(request(**changes)) == provider


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cloud_provider_type", "gce"),
        ("vm_type", "pv"),
        ("store_type", "s3"),
        ("os_type", "windows"),
        ("package_type", "RPM"),
    ],
)
def test_what_no_image_of_ours_can_be_is_refused(field: str, value: str) -> None:
    told = refusal(provider_of, request(**{field: value}))
    assert [fault.field for fault in told.fields] == [field]


@pytest.mark.parametrize(
    ("changes", "base"),
    [
        ({}, "baseos:stable"),
        ({"base_label": None}, "baseos:stable"),
        ({"base_label": "candidate"}, "baseos:candidate"),
        ({"base_label": "previous"}, "baseos:previous"),
        ({"base_os": None}, "baseos:stable"),
        ({"base_ami": "node:20261122.1"}, "node:20261122.1"),
        ({"base_ami": "ami-0123abcd"}, "ami-0123abcd"),
    ],
)
def test_the_base_is_a_line_and_the_channel_of_the_label(
    changes: dict[str, Any], base: str
) -> None:
    assert base_wanted(request(**changes), RoscoBases()) == base


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"base_label": "unstable"}, "base_label"),
        ({"base_os": "../x"}, "base_os"),
        ({"base_ami": "my favourite"}, "base_ami"),
    ],
)
def test_a_base_that_is_none_is_told(changes: dict[str, Any], field: str) -> None:
    told = refusal(base_wanted, request(**changes), RoscoBases())
    assert [fault.field for fault in told.fields] == [field]


BASES = """
default: trusty
bases:
  trusty: {line: baseos, labels: {unstable: candidate}, description: what trusty became}
  bionic: {line: node}
"""


def bases_of(folder: Path, text: str) -> RoscoBases:
    path = folder / "bases.yaml"
    path.write_text(text)
    return load_bases(Settings(rosco_bases=path, database_url=SecretStr("sqlite://")))


def test_a_file_maps_the_names_that_pipelines_use(tmp_path: Path) -> None:
    bases = bases_of(tmp_path, BASES)
    assert base_wanted(request(base_os=None), bases) == "baseos:stable"
    assert base_wanted(request(base_os="bionic"), bases) == "node:stable"
    unstable = request(base_os="trusty", base_label="unstable")
    assert base_wanted(unstable, bases) == "baseos:candidate"
    told = refusal(base_wanted, request(base_os="xenial"), bases)
    assert "bionic, trusty" in told.message
    nothing_else = bases_of(tmp_path, "bases: {bionic: {line: node}}")
    assert "bionic" in refusal(base_wanted, request(base_os=None), nothing_else).message


@pytest.mark.parametrize("text", ["default: x", "bases: {a: {line: A B}}", "a: [", "- 1"])
def test_a_wrong_file_is_no_fault_of_the_request(tmp_path: Path, text: str) -> None:
    with pytest.raises(PlatformError):
        bases_of(tmp_path, text)


@pytest.mark.parametrize(
    ("words", "filename"),
    [
        ("hodor", "hodor_1.1-h17_all.deb"),
        ("hodor_1.1-h17_all", "hodor_1.1-h17_all.deb"),
        ("hodor=1.1-h17", "hodor_1.1-h17_all.deb"),
        ("hodor-1.1-h17", "hodor_1.1-h17_all.deb"),
        ("hodor_1.1-h17_all.deb", "hodor_1.1-h17_all.deb"),
        ("hello-service", "hello_service-1.0-py3-none-any.whl"),
        ("hello", "hello-1.0.tar.gz"),
        ("hello", "hello-v2.zip"),
        ("server", "server"),
    ],
)
def test_an_upload_is_meant_by_its_package_with_or_without_a_version(
    words: str, filename: str
) -> None:
    assert take_apart(filename).is_meant_by(words)


@pytest.mark.parametrize(
    ("words", "filename"),
    [
        ("hello", "hello-world_1.0_all.deb"),
        ("hello", "hello_service-1.0-py3-none-any.whl"),
        ("hello", "hello-world-1.0.tar.gz"),
        ("hodor_1.2_all", "hodor_1.1_all.deb"),
        ("hell", "hello_1.0_all.deb"),
    ],
)
def test_an_upload_is_not_meant_by_the_beginning_of_its_name(words: str, filename: str) -> None:
    assert not take_apart(filename).is_meant_by(words)


def test_the_newest_upload_that_fits_the_base_is_taken_and_the_rest_are_packages() -> None:
    uploads = shelf("hodor_2_arm64.deb", "hodor_1_amd64.deb", "hodor_0_amd64.deb")
    found = wanted(request(package="hodor curl  hodor"), uploads, "amd64")
    assert [one.filename for one in found.artifacts] == ["hodor_1_amd64.deb"]
    assert found.packages == ["curl"]


def test_without_any_artifact_it_is_told_what_is_needed() -> None:
    told = refusal(wanted, request(package="curl"), shelf(), "amd64")
    assert "curl" in told.message
    assert told.hint == "fleetwide artifact upload curl.deb"
    assert refusal(wanted, request(package=None), shelf(), "amd64").fields[0].field == "package"


def test_a_version_that_was_never_uploaded_is_no_package_of_the_archives() -> None:
    uploads = shelf("other_1_all.deb")
    told = refusal(wanted, request(package="other hodor_1.1_all"), uploads, "amd64")
    assert "hodor_1.1_all" in told.message
    assert told.hint == "fleetwide artifact upload hodor_1.1_all.deb"


def test_an_endless_list_of_packages_is_refused() -> None:
    many = " ".join(f"p{number}" for number in range(500))
    refusal(wanted, request(package=many), shelf(), "amd64")
    refusal(wanted, request(package="p" * 5000), shelf(), "amd64")
    refusal(wanted, request(package="hödör"), shelf(), "amd64")


@pytest.mark.parametrize(
    "changes",
    [
        {"user": "a\x00"},
        {"job": "\ud800"},
        {"extended_attributes": {"recipe_a": ["\ud800"]}},
        {"extended_attributes": {"\x1b": 1}},
        {"package_artifacts": [{"metadata": {"a": "\x00"}}]},
    ],
)
def test_what_is_no_text_is_refused_at_once(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="control characters"):
        request(**changes)


DEB = "https://repo.example/pool/hodor_1.1_all.deb"


def artifacts(*told: dict[str, Any]) -> Wanted:
    made = request(package="hodor", package_artifacts=list(told))
    return wanted(made, shelf("hodor_9_all.deb"), "amd64")


@pytest.mark.parametrize(
    "told",
    [
        {"type": "deb", "reference": DEB, "metadata": {"sha256": SHA}},
        {"type": "deb", "reference": f"{DEB}#sha256={SHA}"},
        {"reference": DEB, "sha256": f"sha256:{SHA.upper()}"},
        {"location": DEB, "metadata": {"sha256": SHA}},
        {
            "location": "https://repo.example/pool/",
            "reference": "hodor_1.1_all.deb",
            "metadata": {"sha256": SHA},
        },
    ],
)
def test_an_artifact_comes_by_its_address_and_digest(told: dict[str, Any]) -> None:
    found = artifacts({"name": "hodor", "version": "1.1", **told})
    [artifact] = found.artifacts
    assert (artifact.url, artifact.sha256, artifact.type) == (DEB, SHA, ArtifactType.DEB)
    assert found.packages == []


def test_an_address_that_does_not_end_in_a_files_name_is_named_after_the_package() -> None:
    told = {"type": "deb", "name": "hodor", "version": "1.1", "reference": "https://x.example/"}
    [artifact] = artifacts({**told, "metadata": {"sha256": SHA}}).artifacts
    assert artifact.filename == "hodor_1.1.deb"


def test_an_uploaded_artifact_is_found_by_its_name_and_version() -> None:
    for told in ({"reference": "pool/hodor_9_all.deb"}, {"name": "hodor", "version": "9"}):
        [artifact] = artifacts(told).artifacts
        assert (artifact.url, artifact.filename) == (None, "hodor_9_all.deb")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"reference": DEB}, "SHA-256"),
        ({"reference": DEB, "metadata": {"sha256": "abc"}}, "64 hex digits"),
        ({"reference": "https://u:hunter2@x.example/a.deb", "sha256": SHA}, "password"),
        ({"reference": "https://x.example/a%20b.deb", "sha256": SHA}, "file's name"),
        ({"name": "hodor", "version": "3"}, "hodor_3"),
        ({}, "no such artifact was uploaded"),
    ],
)
def test_an_artifact_that_cannot_be_pinned_is_refused(told: dict[str, Any], words: str) -> None:
    error = refusal(artifacts, told)
    assert words in error.message
    assert error.fields[0].field.startswith("package_artifacts[0]")
    assert "hunter2" not in str(error)


def test_every_state_is_told_and_what_runs_has_no_result() -> None:
    assert set(ENDS) == set(BakeState)
    for state in BakeState:
        told = status_of("x", state)
        assert (told.result is not None) == (state in ENDED)
    failed = status_of("x", BakeState.FAILED)
    assert (failed.state, failed.result) == (RoscoState.CANCELED, RoscoResult.FAILURE)


def test_a_failure_is_told_with_its_stage_and_hint() -> None:
    failure = BakeFailure(
        stage=BakeState.TESTING, reason="SmokeTestFailed", message="it ended", hint="--no-smoke"
    )
    told = " ".join(failure_lines(failure))
    for words in ("testing", "SmokeTestFailed", "it ended", "hint: --no-smoke"):
        assert words in told


def image(*regions: str) -> SeenImage:
    amis = [
        AmiImage(region=region, image_id=f"ami-{region}", snapshot_id="snap-1", name="hodor-1")
        for region in regions
    ]
    made = BakedImage.model_validate(
        {
            "name": "hodor",
            "version": "1",
            "bake_key": SHA,
            "workflow_id": "bake/x",
            "repository": "apps/hodor",
            "digest": None if amis else f"sha256:{SHA}",
            "base_name": "baseos",
            "base_version": "1",
            "base_digest": f"sha256:{SHA}",
            "size": 1,
            "amis": amis,
            "build_seconds": 1,
            "created_at": "2026-11-22T00:00:00Z",
        }
    )
    known = bake_spec(build={"number": "17"})
    return SeenImage("id", known, made, "registry.example", {"eu-west-1": "ami-base"})


def test_an_ami_is_told_for_the_region_that_asks() -> None:
    told = details_of(image("us-west-2", "eu-west-1"), "eu-west-1")
    assert told is not None
    assert (told.ami, told.image_name, told.base_ami) == ("ami-eu-west-1", "hodor-1", "ami-base")
    assert told.regions == ["us-west-2", "eu-west-1"]
    artifact = told.artifact
    assert (artifact.type, artifact.reference, artifact.location) == (
        "aws/image",
        "ami-eu-west-1",
        "eu-west-1",
    )
    assert artifact.metadata == {"build_number": "17"}
    assert details_of(image("us-west-2"), "eu-west-1") is None


def test_a_container_image_is_told_by_its_digest_in_every_region() -> None:
    told = details_of(image(), "anywhere")
    assert told is not None
    assert told.ami == f"registry.example/apps/hodor@sha256:{SHA}"
    assert (told.image_name, told.base_ami) == ("registry.example/apps/hodor", "baseos:1")
    assert told.artifact.type == "docker/image"
