"""The policy file: what it may say, and what a refusal tells."""

from pathlib import Path

import pytest

from fleetwide.bakery.lint import CHECKS
from fleetwide.bakery.policy import MAX_TOLD, RULE_TEXT, is_refused, refuse, rules_of
from fleetwide.errors import InvalidInput, PlatformError, PolicyRefused
from fleetwide.models.bakes import LintFinding, Severity
from fleetwide.models.policy import BakeryPolicy, Level, Rule, RuleLevels
from fleetwide.providers.lint_payload import load_policy
from fleetwide.providers.policies import read_policy
from fleetwide.providers.yaml_files import MAX_BYTES
from fleetwide.settings import Settings

EXAMPLE = Path(__file__).parents[2] / "examples/bakery/policy.yaml"


def policy_of(tmp_path: Path, text: str) -> BakeryPolicy:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return read_policy(path)


def finding(number: int, severity: Severity = Severity.REFUSE) -> LintFinding:
    return LintFinding(
        rule=Rule.SETUID,
        severity=severity,
        where=f"/opt/x/{number}",
        message="is setuid",
        hint="chmod it",
    )


def test_every_rule_has_a_level_a_check_and_words() -> None:
    assert set(RuleLevels.model_fields) == set(Rule) == set(CHECKS) == set(RULE_TEXT)
    assert all(text.meaning and text.hint for text in RULE_TEXT.values())


def test_without_a_file_the_dangerous_rules_refuse_and_the_others_warn() -> None:
    policy = read_policy(None)
    refusing = {rule for rule in Rule if policy.level(rule) is Level.REFUSE}
    assert refusing == {
        Rule.SETUID,
        Rule.SECRET,
        Rule.DEVICE_NODE,
        Rule.ENTRYPOINT_NOT_FOUND,
        Rule.ENTRYPOINT_NOT_RUNNABLE,
    }
    assert all(policy.level(rule) is Level.WARN for rule in set(Rule) - refusing)


def test_the_example_is_a_policy() -> None:
    policy = read_policy(EXAMPLE)
    assert policy.level(Rule.ROOT_USER) is Level.REFUSE
    assert policy.level(Rule.OUTSIDE_APP_FOLDERS) is Level.OFF
    assert policy.max_image_size == 1024**3
    assert policy.required == ["owner", "commit", "cost-centre"]


def test_off_may_be_written_as_yaml_likes_it(tmp_path: Path) -> None:
    text = "rules: {setuid: off, secret: 'off', log_file: OFF}"
    policy = policy_of(tmp_path, text)
    assert {policy.level(rule) for rule in (Rule.SETUID, Rule.SECRET, Rule.LOG_FILE)} == {Level.OFF}


def test_json_and_an_empty_file_are_policies_too(tmp_path: Path) -> None:
    assert policy_of(tmp_path, "") == BakeryPolicy()
    policy = policy_of(tmp_path, '{"rules": {"log_file": "refuse"}, "max_base_age_days": 7}')
    assert (policy.level(Rule.LOG_FILE), policy.max_base_age_days) == (Level.REFUSE, 7)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rules: {setuidd: refuse}", "rules.setuidd: unknown key; did you mean setuid?"),
        ("rules: {setuid: on}", "rules.setuid: must be 'off', 'warn' or 'refuse'"),
        ("rules: {setuid: deny}", "rules.setuid: must be 'off', 'warn' or 'refuse'"),
        ("max_layer_sise: 1MiB", "unknown key; did you mean max_layer_size?"),
        ("max_layer_size: 1", "max_layer_size: must be at least 1048576"),
        ("max_base_age_days: 0", "max_base_age_days: must be at least 1"),
        ("setuid_allowed: [opt/x]", "setuid_allowed[0]: must be an absolute path"),
        ("debug_packages: ['[a-']", "debug_packages[0]: must match"),
        ("- setuid", "must be an object"),
        ("false", "must be an object"),
        ("rules: [", "is neither YAML nor JSON: line"),
        ("rules: {setuid: !!python/object/apply:os.getcwd []}", "is neither YAML nor JSON"),
    ],
)
def test_a_wrong_policy_says_what_is_wrong(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        policy_of(tmp_path, text)
    assert told in caught.value.message
    assert caught.value.hint == "fleetwide bake rules"


def test_a_policy_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        read_policy(tmp_path / "nowhere.yaml")
    (tmp_path / "latin1").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="is not UTF-8 text"):
        read_policy(tmp_path / "latin1")
    (tmp_path / "large").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(InvalidInput, match="is above"):
        read_policy(tmp_path / "large")


def test_a_wrong_policy_of_the_builder_is_no_fault_of_the_bake(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("rules: {setuidd: refuse}")
    with pytest.raises(PlatformError, match="did you mean setuid"):
        load_policy(Settings(bakery_policy=tmp_path / "policy.yaml"))
    assert load_policy(Settings(bakery_policy=None)) == BakeryPolicy()


def test_rules_are_listed_with_what_the_policy_makes_of_them() -> None:
    listed = rules_of(BakeryPolicy.model_validate({"rules": {"log_file": "off"}}))
    assert [one.rule for one in listed] == list(Rule)
    assert {one.rule: one.level for one in listed}[Rule.LOG_FILE] is Level.OFF


def test_warnings_refuse_nothing() -> None:
    warnings = [finding(1, Severity.WARN)]
    refuse(warnings, "hello 1.0.0")
    assert not is_refused(warnings)


def test_a_refusal_names_rules_places_and_cures() -> None:
    findings = [finding(0, Severity.WARN), *(finding(number) for number in range(1, MAX_TOLD + 3))]
    assert is_refused(findings)
    with pytest.raises(PolicyRefused) as caught:
        refuse(findings, "hello 1.0.0")
    lines = caught.value.message.splitlines()
    assert lines[0] == "the bakery policy refuses hello 1.0.0:"
    assert lines[1] == "setuid: /opt/x/1: is setuid (chmod it)"
    assert len(lines) == MAX_TOLD + 2
    assert lines[-1] == "and 2 more"
    assert caught.value.hint == "fleetwide bake lint -f bake.yaml"
