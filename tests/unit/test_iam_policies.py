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
HOST = {"task_secrets"}
SCHEDULER = {"target_groups"}
# Methods of Docker, and of our own, that are called like some of AWS.
NOT_AWS = {"docker_volumes", "registry_auth"}
CONTROL = {"ec2_images", "ec2_lookup", "ec2_machines", "ec2_retirement"}
# What functions of other roles' modules call that this role uses.
BORROWED: dict[str, set[str]] = {
    "builder-disk": set(),
    "builder-volume": {"ec2:DescribeImages", "ec2:DeleteSnapshot"},
    "control": {"ec2:DeleteSnapshot", "ec2:DeleteVolume", "ec2:DetachVolume"},
    "host": set(),
    "scheduler": set(),
}
# Tags in the request that makes a thing, and the role that it gets, are rights of their own, which
# no call shows.
IMPLIED = {
    "builder-disk": {"ec2:CreateTags"},
    "builder-volume": {"ec2:CreateTags"},
    "control": {"ec2:CreateTags", "iam:PassRole"},
    "host": set(),
    "scheduler": set(),
}
REMOVING = {"ec2:DeleteSnapshot", "ec2:DeleteVolume", "ec2:DeregisterImage"}
ROLES = {
    "builder-disk": DISK,
    "builder-volume": VOLUME,
    "control": CONTROL,
    "host": HOST,
    "scheduler": SCHEDULER,
}


def operations() -> dict[str, str]:
    """Every boto3 method of the services that are used, to its action in IAM's words."""
    session = botocore.session.get_session()
    found = {}
    for service in ("elbv2", "ec2", "ebs", "secretsmanager"):
        prefix = "elasticloadbalancing" if service == "elbv2" else service
        for name in session.get_service_model(service).operation_names:
            found[xform_name(name)] = f"{prefix}:{name}"
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
    calling = {path.stem for path in PROVIDERS.glob("*.py") if any(calls(path.stem))} - NOT_AWS
    assert calling == DISK | VOLUME | CONTROL | HOST | SCHEDULER


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
