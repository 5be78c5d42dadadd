"""skopeo, which stands for podman, buildah and CRI-O: it shares their library."""

import json
from pathlib import Path

import pytest

from tests.integration.registry_clients.conftest import CREDENTIALS, run
from tests.oci_objects import image, write_layout
from tests.registry_stack import Stack

pytestmark = pytest.mark.integration


def _skopeo(*words: str | Path, code: int = 0) -> str:
    return run("skopeo", "--insecure-policy", *words, code=code)


def _push(stack: Stack, folder: Path, repository: str, tag: str) -> str:
    """Push an image; its digest."""
    made = image(2, size=50_000)
    write_layout(folder / tag, made, tag)
    target = f"docker://{stack.address}/{repository}:{tag}"
    words = ("--dest-tls-verify=false", "--dest-creds", CREDENTIALS)
    _skopeo("copy", *words, f"oci:{folder / tag}:{tag}", target)
    return made.digest


def test_copy_in_inspect_and_copy_out(stack: Stack, tmp_path: Path, repository: str) -> None:
    digest = _push(stack, tmp_path, repository, "v1")
    source = f"docker://{stack.address}/{repository}:v1"
    asked = ("--tls-verify=false", "--creds", CREDENTIALS)
    assert json.loads(_skopeo("inspect", *asked, source))["Digest"] == digest
    words = ("--src-tls-verify=false", "--src-creds", CREDENTIALS)
    _skopeo("copy", *words, source, f"oci:{tmp_path / 'out'}:v1")
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert [one["digest"] for one in index["manifests"]] == [digest]


def test_copy_within_the_registry(stack: Stack, tmp_path: Path, repository: str) -> None:
    digest = _push(stack, tmp_path, repository, "v1")
    here = ("--src-tls-verify=false", "--src-creds", CREDENTIALS)
    there = ("--dest-tls-verify=false", "--dest-creds", CREDENTIALS)
    target = f"docker://{stack.address}/{repository}/copy:v1"
    _skopeo("copy", *here, *there, f"docker://{stack.address}/{repository}:v1", target)
    asked = ("--tls-verify=false", "--creds", CREDENTIALS)
    assert json.loads(_skopeo("inspect", *asked, target))["Digest"] == digest


def test_tags_are_listed_and_deleted(stack: Stack, tmp_path: Path, repository: str) -> None:
    for tag in ("b", "a", "c"):
        _push(stack, tmp_path, repository, tag)
    place = f"docker://{stack.address}/{repository}"
    asked = ("--tls-verify=false", "--creds", CREDENTIALS)
    assert json.loads(_skopeo("list-tags", *asked, place))["Tags"] == ["a", "b", "c"]
    _skopeo("delete", *asked, f"{place}:b")
    assert json.loads(_skopeo("list-tags", *asked, place))["Tags"] == ["a", "c"]
    said = _skopeo("inspect", *asked, f"{place}:b", code=1)
    assert "manifest unknown" in said


def test_without_credentials_it_is_told_so(stack: Stack, tmp_path: Path, repository: str) -> None:
    _push(stack, tmp_path, repository, "v1")
    place = f"docker://{stack.address}/{repository}:v1"
    assert "unauthorized" in _skopeo("inspect", "--tls-verify=false", "--no-creds", place, code=1)
