"""The IAM policies in docs/reference/iam against the AWS calls in the code."""

import ast
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name

ROOT = Path(__file__).parents[2]
PROVIDERS = ROOT / "fleetwide/providers"
POLICIES = ROOT / "docs/reference/iam"
DISK = {"ebs_snapshots", "snapshot_sender"}
VOLUME = {"ec2_volumes"}
CONTROL = {"ec2_images", "ec2_lookup", "ec2_retirement"}
# What functions of other roles' modules call that this role uses.
BORROWED: dict[str, set[str]] = {
    "builder-disk": set(),
    "builder-volume": {"ec2:DescribeImages", "ec2:DeleteSnapshot"},
    "control": {"ec2:DeleteSnapshot", "ec2:DeleteVolume", "ec2:DetachVolume"},
}
# Tags in the request that makes a thing are a right of their own, which no call shows.
IMPLIED = {
    "builder-disk": {"ec2:CreateTags"},
    "builder-volume": {"ec2:CreateTags"},
    "control": {"ec2:CreateTags"},
}
REMOVING = {"ec2:DeleteSnapshot", "ec2:DeleteVolume", "ec2:DeregisterImage"}
ROLES = {"builder-disk": DISK, "builder-volume": VOLUME, "control": CONTROL}


def operations() -> dict[str, str]:
    """Every boto3 method of EC2 and EBS direct, to its action in IAM's words."""
    session = botocore.session.get_session()
    found = {}
    for service in ("ec2", "ebs"):
        for name in session.get_service_model(service).operation_names:
            found[xform_name(name)] = f"{service}:{name}"
    return found


OPERATIONS = operations()


def calls(module: str) -> Iterator[str]:
    """The actions that a module calls by a client, or pages through."""
    for node in ast.walk(ast.parse((PROVIDERS / f"{module}.py").read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name = node.func.attr
        if name == "get_paginator" and isinstance(node.args[0], ast.Constant):
            name = str(node.args[0].value)
        if name in OPERATIONS:
            yield OPERATIONS[name]


def called(modules: Iterable[str]) -> set[str]:
    return {action for module in modules for action in calls(module)}


def allowed(role: str) -> set[str]:
    policy = json.loads((POLICIES / f"{role}.json").read_text())
    return {action for statement in policy["Statement"] for action in statement["Action"]}


@pytest.mark.parametrize("role", ROLES)
def test_a_policy_allows_what_its_role_calls_and_nothing_else(role: str) -> None:
    assert allowed(role) == called(ROLES[role]) | BORROWED[role] | IMPLIED[role]


def test_every_call_of_the_providers_belongs_to_a_role() -> None:
    calling = {path.stem for path in PROVIDERS.glob("*.py") if any(calls(path.stem))}
    assert calling == DISK | VOLUME | CONTROL


@pytest.mark.parametrize("role", ROLES)
def test_a_policy_names_no_action_by_a_pattern_and_each_statement_once(role: str) -> None:
    statements = json.loads((POLICIES / f"{role}.json").read_text())["Statement"]
    assert not any("*" in action for one in statements for action in one["Action"])
    assert len({one["Sid"] for one in statements}) == len(statements)


@pytest.mark.parametrize("role", ROLES)
def test_what_is_deleted_must_be_the_platforms_own(role: str) -> None:
    for statement in json.loads((POLICIES / f"{role}.json").read_text())["Statement"]:
        if REMOVING & {*statement["Action"]}:
            assert "fleetwide:workflow-id" in json.dumps(statement["Condition"])
