"""The registry policy: which rule speaks of a tag, who may move it, what the file may say."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from api.oci.errors import OciError
from api.oci.gateway import Gateway
from fleetwide.errors import InvalidInput, ServiceUnavailable
from fleetwide.models.registry_policy import BUILDER, ImmutableRule, RegistryPolicy
from fleetwide.providers.registry_policies import BUILT_IN, PolicyFile, read_registry_policy
from fleetwide.registry.quotas import Quota, namespace_of, plain_size, policy_quota
from fleetwide.registry.tag_rules import ANYBODY, immutable, matches, refusal

EXAMPLE = Path(__file__).parents[2] / "examples" / "registry-policy.yaml"
FALLBACK = "sha256-" + "a" * 64


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("*", "", True),
        ("apps/*", "apps/a/b", True),
        ("apps/*", "apps", False),
        ("v?.*", "v1.0", True),
        ("v?.*", "v10", False),
        ("*a*b", "aab", True),
        ("a*a", "a", False),
        ("*.*.*", "1.2.3", True),
        ("1.0", "1x0", False),
    ],
)
def test_patterns(pattern: str, text: str, fits: bool) -> None:
    assert matches(pattern, text) is fits


def test_a_pattern_of_many_stars_is_no_way_to_take_the_gateways_time() -> None:
    assert not matches("*a" * 60 + "b", "a" * 250)


@pytest.mark.parametrize("repository", ["baseos/debian", "apps/hello"])
def test_versions_stay_by_default_and_channels_move(repository: str) -> None:
    policy = RegistryPolicy()
    assert immutable(policy, repository, "1.0.0")
    for moving in ("latest", "stable", "candidate", "previous", FALLBACK):
        assert immutable(policy, repository, moving) is None


def test_repositories_of_nobodys_rule_move_freely() -> None:
    assert immutable(RegistryPolicy(), "ci/app", "1.0.0") is None
    assert immutable(RegistryPolicy(platform_rules=False), "apps/hello", "1.0.0") is None


def test_the_platforms_builder_may_move_versions_and_nobody_else() -> None:
    policy = RegistryPolicy()
    assert immutable(policy, "apps/hello", "1.0.0", by=BUILDER) is None
    assert immutable(policy, "apps/hello", "1.0.0", by="ci")
    assert immutable(policy, "apps/hello", "1.0.0", by="anonymous")


def test_where_nobody_has_a_name_only_rules_without_exceptions_for_accounts_hold() -> None:
    strict = ImmutableRule(name="strict", repositories=["ci/*"])
    policy = RegistryPolicy(immutable=[strict])
    assert immutable(policy, "apps/hello", "1.0.0", by=ANYBODY) is None
    assert immutable(policy, "ci/app", "1.0.0", by=ANYBODY) == strict


def test_the_organisations_rules_are_asked_first_and_add_to_the_platforms() -> None:
    own = ImmutableRule(name="own", repositories=["apps/*"], tags=["1.*"], exceptions=["1.0-rc*"])
    policy = RegistryPolicy(immutable=[own])
    assert immutable(policy, "apps/hello", "1.0", by=BUILDER) == own
    rule = immutable(policy, "apps/hello", "1.0-rc1")
    assert rule is not None
    assert rule.name == "bakes"


def test_a_refusal_names_rule_meaning_and_file() -> None:
    rule = ImmutableRule(name="own", repositories=["apps/*"])
    text = refusal(rule, "apps/hello:1.0", "sha256:ab", "/etc/policy.yaml")
    for part in ("apps/hello:1.0", "sha256:ab", "rule own", "/etc/policy.yaml"):
        assert part in text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("imutable: []", "did you mean immutable"),
        ("immutable: [{name: a, repositories: []}]", "at least 1"),
        ("immutable: [{name: a, repositories: ['[x]']}]", "must match"),
        (
            "immutable: [{name: a, repositories: [x]}, {name: a, repositories: [y]}]",
            "two rules are called a",
        ),
        ("retention: [{name: a, repositories: [x]}]", "or every tag would go"),
        ("quotas: {apps/hello: 1GiB}", "must match"),
        ("quotas: {apps: 0}", "at least 1"),
        ("quotas: [", "line"),
    ],
)
def test_what_is_wrong_in_a_file_is_told(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=fault):
        read_registry_policy(path)


def test_the_example_is_a_policy_and_says_something_of_everything() -> None:
    policy = read_registry_policy(EXAMPLE)
    assert policy.immutable
    assert policy.retention
    assert policy.quotas


def test_a_changed_file_counts_at_once_and_a_lost_one_is_no_policy_at_all(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("quotas: {apps: 1}")
    file = PolicyFile(path)
    assert file.current() is file.current()
    path.write_text("quotas: {apps: 2}")
    os.utime(path, ns=(1, 1))
    assert policy_quota(file.current(), "apps") == 2
    assert file.source == path.name
    path.unlink()
    with pytest.raises(InvalidInput, match="cannot be read"):
        file.current()


def test_who_is_served_learns_nothing_of_a_broken_file_and_the_log_all(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("quotas: {apps: much}")
    file = PolicyFile(path)
    with capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(ServiceUnavailable) as refused:
                file.serving()
            assert str(tmp_path) not in f"{refused.value.message} {refused.value.hint}"
        [told] = logs
        assert (told["path"], "quotas.apps" in told["reason"]) == (str(path), True)
        path.write_text("quotas: {apps: 2}")
        assert policy_quota(file.serving(), "apps") == 2
        path.unlink()
        with pytest.raises(ServiceUnavailable):
            file.serving()
        assert len(logs) == 2


def test_a_push_is_told_to_come_again_while_the_policy_is_broken(tmp_path: Path) -> None:
    gateway = SimpleNamespace(policy=PolicyFile(tmp_path / "none.yaml"))
    with pytest.raises(OciError) as refused:
        Gateway.rules(gateway)  # type: ignore[arg-type]
    assert (refused.value.status, str(tmp_path) in refused.value.message) == (503, False)
    assert dict(refused.value.headers)[b"retry-after"]


def test_without_a_file_the_platforms_own_rules_hold() -> None:
    file = PolicyFile(None)
    assert file.current() == RegistryPolicy()
    assert file.source == BUILT_IN


def test_a_quota_tells_its_numbers_and_lets_pass_what_adds_nothing() -> None:
    full = Quota("apps", used=3 * 1024**2, asked=1, limit=1024**2)
    assert full.exceeded
    for number in ("3145728", "asked 1", "1048576", "3.0 MiB", "1.0 MiB"):
        assert number in full.sentence()
    assert not Quota("apps", used=9, asked=0, limit=1).exceeded
    assert not Quota("apps", used=1, asked=1, limit=2).exceeded


def test_quotas_of_the_file() -> None:
    policy = RegistryPolicy.model_validate({"quotas": {"apps": "1KiB", "*": 5}})
    assert policy_quota(policy, "apps") == 1024
    assert policy_quota(policy, "ci") == 5
    assert policy_quota(RegistryPolicy(), "ci") is None
    assert namespace_of("apps/hello/x") == "apps"
    assert namespace_of("hello") == "hello"
    assert [plain_size(one) for one in (5, 2048, 1024**6)] == ["5 B", "2.0 KiB", "1024.0 PiB"]
