"""What a container's spec refuses, and that the limit is named."""

from typing import Any

import pytest
from pydantic import ValidationError

from fleetwide.models.containers import ContainerSpec
from fleetwide.models.retries import RetryPolicy

IMAGE = "apps/hello:1"


def refusal(**fields: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        ContainerSpec.model_validate({"image": IMAGE, **fields})
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"stop_grace_seconds": 301}, "300"),
        ({"security": {"user": "no body"}}, "user"),
        ({"security": {"add_capabilities": ["SYS_ADMIN"]}}, "SYS_PTRACE"),
        (
            {"security": {"add_capabilities": ["KILL"], "drop_capabilities": ["KILL"]}},
            "KILL is both added and dropped",
        ),
        ({"security": {"scratch": {"../etc": "1MiB"}}}, "scratch"),
        ({"security": {"scratch": {"/a/../b": "1MiB"}}}, "scratch"),
        ({"security": {"scratch": {f"/s{one}": "1MiB" for one in range(9)}}}, "8"),
        (
            {"resources": {"memory": "8MiB"}, "security": {"scratch": {"/tmp": "9MiB"}}},
            f"the memory is {8 * 1024**2}",
        ),
        (
            {"resources": {"memory": "8MiB", "shared_memory": "9MiB"}},
            f"resources.shared_memory is {9 * 1024**2} bytes in all",
        ),
        ({"security": {"seccomp": "../../etc/passwd"}}, "seccomp"),
    ],
)
def test_refused(fields: dict[str, Any], said: str) -> None:
    assert said in refusal(**fields)


def test_shared_memory_is_never_more_than_the_memory() -> None:
    small = ContainerSpec.model_validate({"image": IMAGE, "resources": {"memory": "8MiB"}})
    assert small.resources.shared_memory_bytes == 8 * 1024**2
    usual = ContainerSpec.model_validate({"image": IMAGE})
    assert usual.resources.shared_memory_bytes == 64 * 1024**2


def test_only_ends_that_retries_pay_for_can_be_conditions() -> None:
    with pytest.raises(ValidationError, match=r"lost is none of failed, oomKilled, .*startFailed"):
        RetryPolicy.model_validate({"retries": 1, "on_reasons": ["lost"]})
