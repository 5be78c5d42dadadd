"""The rules hold for any tree and any request: nothing is told twice, or told too much."""

import stat
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.bakery.lint import CHECKS, lint
from fleetwide.bakery.lint_subject import MAX_FOUND, LintSubject
from fleetwide.bakery.policy import is_refused
from fleetwide.bakery.programs import Node, resolved
from fleetwide.baseos.checks import Entry, check_setuid
from fleetwide.models.bakes import Severity
from fleetwide.models.policy import BakeryPolicy, Level, Rule
from tests.unit.bakes import bake_spec

words = st.characters(codec="utf-8", exclude_characters="\0")
paths = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=6),
    min_size=1,
    max_size=4,
).map("/".join)
kinds = st.sampled_from([stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
modes = st.builds(lambda kind, bits: kind | bits, kinds, st.integers(0, 0o7777))
entries = st.lists(st.builds(Entry, paths, modes, st.integers(0, 10**9)), max_size=30)
requests: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "env": st.dictionaries(
            st.sampled_from(["A", "TZ", "DB_PASSWORD"]), st.text(words, max_size=20)
        ),
        "command": st.lists(st.text(words, max_size=20), max_size=3),
        "ports": st.lists(st.integers(1, 65535), max_size=3),
        "user": st.sampled_from(["root", "web", "0:0"]),
    },
)
policies = st.builds(
    lambda levels: BakeryPolicy.model_validate({"rules": levels}),
    st.dictionaries(st.sampled_from([rule.value for rule in Rule]), st.sampled_from(Level)),
)


@given(entries, requests, policies)
def test_levels_decide_and_every_finding_is_whole(
    found: list[Entry], request: dict[str, Any], policy: BakeryPolicy
) -> None:
    subject = LintSubject(spec=bake_spec(**request), entries=found)
    findings = lint(subject, policy)
    for one in findings:
        level = policy.level(Rule(one.rule))
        assert level is not Level.OFF
        assert (one.severity is Severity.REFUSE) == (level is Level.REFUSE)
        assert one.message
        assert one.hint
        assert "\n" not in one.where
    assert is_refused(findings) == any(one.severity is Severity.REFUSE for one in findings)
    for rule in Rule:
        assert sum(one.rule == rule for one in findings) <= MAX_FOUND + 1


@given(entries, requests)
def test_the_order_of_the_entries_does_not_matter(
    found: list[Entry], request: dict[str, Any]
) -> None:
    spec, policy = bake_spec(**request), BakeryPolicy()
    for check in CHECKS.values():
        one_way = set(check(LintSubject(spec=spec, entries=found), policy))
        assert set(check(LintSubject(spec=spec, entries=found[::-1]), policy)) == one_way


@given(entries)
def test_the_setuid_rule_is_that_of_the_os_releases(found: list[Entry]) -> None:
    subject = LintSubject(spec=bake_spec(), entries=found)
    told = [
        f"{where} {message}" for where, message, _ in CHECKS[Rule.SETUID](subject, BakeryPolicy())
    ]
    assert told == check_setuid(found, ()).found


@given(st.text(words, min_size=12, max_size=30))
def test_a_secret_by_name_is_never_told(secret: str) -> None:
    subject = LintSubject(spec=bake_spec(env={"DB_PASSWORD": secret}))
    for one in lint(subject, BakeryPolicy()):
        assert secret not in one.model_dump_json()


@given(st.dictionaries(paths, st.text(max_size=12), max_size=12), paths)
def test_any_web_of_links_is_followed_to_an_end(links: dict[str, str], path: str) -> None:
    nodes = {place: Node(stat.S_IFLNK | 0o777, link=target) for place, target in links.items()}
    found = resolved(path, nodes.get)
    assert found is None or found == "" or found not in nodes
