"""The bakery policy over payloads as they are really made, on a real base."""

import tarfile
from pathlib import Path

import pytest

from fleetwide.errors import PolicyRefused
from fleetwide.models.bakery import BakeSpec
from fleetwide.models.bakes import AppliedRecipe, BaseImage, LintFinding
from fleetwide.models.policy import BakeryPolicy
from fleetwide.providers.base_cache import BaseCache
from fleetwide.providers.lint_payload import check_payload
from fleetwide.providers.payloads import Payload, PayloadInputs
from fleetwide.providers.progress import no_progress
from tests.integration.images.payloads import inputs_of, made, make_deb

pytestmark = pytest.mark.integration

TOKEN = "ghp_" + "a" * 36
# A layer's own deletions count: with this the base has no Python any more.
POSTINST = """#!/bin/sh
set -e
chmod u+s /usr/lib/tool/run
rm /usr/bin/python3
mkdir -p /etc/tool
printf 'token = ghp_%s' aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa > /etc/tool/settings
"""


@pytest.fixture(scope="module")
def root(base: BaseImage, cache: BaseCache) -> Path:
    return cache.rootfs(base, no_progress)


def checked(
    inputs: PayloadInputs, payload: Payload, policy: BakeryPolicy, **asked: object
) -> list[LintFinding]:
    spec = BakeSpec.model_validate({**inputs.bake.spec.model_dump(), **asked})
    bake = inputs.bake.model_copy(update={"spec": spec})
    return check_payload(bake, payload, inputs.base, 1000, policy)


def test_a_deb_is_looked_at_as_its_scripts_left_it(
    base: BaseImage, root: Path, tmp_path: Path
) -> None:
    deb = make_deb(tmp_path, POSTINST)
    inputs = inputs_of(base, root, ("deb", deb, "tool.deb"))
    payload = made(inputs, tmp_path / "work")
    with pytest.raises(PolicyRefused) as caught:
        checked(inputs, payload, BakeryPolicy(), command=["python3"])
    lines = caught.value.message.splitlines()
    assert [line.split(" (")[0] for line in lines[1:]] == [
        "setuid: /usr/lib/tool/run: is setuid",
        "secret: /etc/tool/settings:1: holds a GitHub token",
        "entrypoint_not_found: command[0]: python3 is not in the image",
    ]
    assert TOKEN not in caught.value.message
    lenient = BakeryPolicy.model_validate(
        {"rules": {"secret": "off"}, "setuid_allowed": ["/usr/lib/tool/run"]}
    )
    findings = checked(inputs, payload, lenient, command=["/usr/lib/tool/run"])
    # The package database and the deb's files: such an image is baked again, never rebased.
    assert "outside_app_folders" in {one.rule for one in findings}


def test_a_hardened_tarball_breaks_no_rule(base: BaseImage, root: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "run").write_text("#!/usr/bin/python3\nprint('hello')\n")
    (tree / "run").chmod(0o4777)
    with tarfile.open(tmp_path / "app.tar.gz", "w:gz") as archive:
        archive.add(tree, ".")
    recipe = AppliedRecipe(reference="hard:1", drop_setuid=True)
    given = ("tarball", tmp_path / "app.tar.gz", "app.tar.gz")
    inputs = inputs_of(base, root, given, recipe=recipe)
    payload = made(inputs, tmp_path / "work")
    asked = {"owner": "ana", "build": {"commit": "abc"}, "command": ["/opt/app/run"]}
    ageless = BakeryPolicy.model_validate({"rules": {"old_base": "off"}})
    assert checked(inputs, payload, ageless, **asked) == []
    with pytest.raises(PolicyRefused, match=r"/opt/app/walk is not in the image"):
        checked(inputs, payload, ageless, command=["/opt/app/walk"])
    with pytest.raises(PolicyRefused, match="the user nosuch is not known to the image"):
        checked(inputs, payload, ageless, command=["/opt/app/run"], user="nosuch")
