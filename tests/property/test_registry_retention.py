"""Whatever rules and tags: what is needed stays, and nothing goes later that no report counted."""

import fnmatch
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.models.registry_policy import RetentionRule
from fleetwide.registry.retention import Newest, TagFacts, judge, judge_all, kept_counts
from fleetwide.registry.tag_rules import matches, speaks_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REPOSITORY = "ci/app"
FALLBACK = "sha256-" + "0" * 64

ages = st.integers(0, 100).map(lambda hours: NOW - timedelta(hours=7 * hours))
names = st.sampled_from(["latest", FALLBACK, *(f"pr-{n}" for n in range(12)), "1.0", "1.1", "2.0"])
tags = st.builds(
    TagFacts,
    name=names,
    digest=st.sampled_from(["sha256:a", "sha256:b", "sha256:c"]),
    pushed_at=ages,
    last_pulled_at=st.none() | ages,
    size=st.integers(0, 100),
    in_use=st.sampled_from([(), (), ("task t",)]),
)
repositories = st.lists(tags, max_size=15, unique_by=lambda tag: tag.name)
patterns = st.lists(st.sampled_from(["*", "pr-*", "1.*", "latest", "?.?"]), min_size=1, max_size=3)
limits = st.tuples(
    st.none() | st.integers(1, 6), st.none() | st.integers(1, 20), st.none() | st.integers(1, 20)
).filter(any)


@st.composite
def rule_lists(draw: st.DrawFn) -> list[RetentionRule]:
    found = []
    for number in range(draw(st.integers(0, 3))):
        newest, pushed, pulled = draw(limits)
        rule = RetentionRule(
            name=f"rule-{number}",
            repositories=draw(st.sampled_from([["ci/*"], ["*"], ["apps/*"]])),
            tags=draw(patterns),
            exceptions=draw(st.sampled_from([[], ["latest"], ["pr-1*"]])),
            keep_newest=newest,
            keep_pushed_days=pushed,
            keep_pulled_days=pulled,
        )
        found.append(rule)
    return found


@given(rule_lists(), repositories)
def test_what_goes_is_spoken_of_by_a_rule_and_by_nothing_else(
    rules: list[RetentionRule], found: list[TagFacts]
) -> None:
    by_name = {rule.name: rule for rule in rules}
    for verdict in judge_all(rules, REPOSITORY, found, NOW):
        tag = verdict.tag
        if not verdict.goes:
            continue
        rule = by_name[verdict.rule]
        assert speaks_of(rule, REPOSITORY, tag.name)
        assert not tag.in_use
        assert tag.name != FALLBACK
        for moment, days in (
            (tag.pushed_at, rule.keep_pushed_days),
            (tag.last_pulled_at, rule.keep_pulled_days),
        ):
            if moment is not None and days is not None:
                assert NOW - moment >= timedelta(days=days)


@given(rule_lists(), repositories)
def test_the_newest_of_each_rule_stay(rules: list[RetentionRule], found: list[TagFacts]) -> None:
    verdicts = judge_all(rules, REPOSITORY, found, NOW)
    for rule in rules:
        spoken = [one for one in verdicts if one.rule == rule.name]
        spoken.sort(key=lambda one: (one.tag.pushed_at, one.tag.name), reverse=True)
        assert not any(one.goes for one in spoken[: rule.keep_newest or 0])


@given(rule_lists(), repositories)
def test_whatever_nothing_keeps_goes(rules: list[RetentionRule], found: list[TagFacts]) -> None:
    verdicts = judge_all(rules, REPOSITORY, found, NOW)
    assert len(verdicts) == len(found)
    assert sum(kept_counts(verdicts).values()) == sum(not one.goes for one in verdicts)
    for verdict in verdicts:
        assert verdict.goes != bool(verdict.reasons)


changes = st.lists(
    st.tuples(st.sampled_from(["delete", "pull", "use"]), st.integers(0, 20)), max_size=10
)


@given(rule_lists(), repositories, changes)
def test_nothing_goes_at_the_application_that_was_not_in_the_report(
    rules: list[RetentionRule], found: list[TagFacts], later: list[tuple[str, int]]
) -> None:
    reported = {one.tag.name for one in judge_all(rules, REPOSITORY, found, NOW) if one.goes}
    now = list(found)
    for change, place in later:
        if not now:
            break
        tag = now.pop(place % len(now))
        if change == "pull":
            pulled = NOW + timedelta(minutes=5)
            now.append(TagFacts(tag.name, tag.digest, tag.pushed_at, pulled, tag.size, tag.in_use))
        elif change == "use":
            used = ("task new",)
            now.append(
                TagFacts(tag.name, tag.digest, tag.pushed_at, tag.last_pulled_at, tag.size, used)
            )
    applied = {one.tag.name for one in judge_all(rules, REPOSITORY, now, NOW) if one.goes}
    assert applied <= reported


@given(rule_lists(), repositories, st.integers(1, 4))
def test_pages_judge_as_the_whole_does(
    rules: list[RetentionRule], found: list[TagFacts], page: int
) -> None:
    pages = [found[start : start + page] for start in range(0, len(found), page)]
    newest = Newest(rules, REPOSITORY)
    for part in pages:
        newest.add((tag.name, tag.pushed_at) for tag in part)
    kept = newest.names()
    paged = [one for part in pages for one in judge(newest, part, NOW, kept=kept)]
    assert paged == judge_all(rules, REPOSITORY, found, NOW)


@given(st.text("ab*?", max_size=8), st.text("ab/", max_size=10))
def test_patterns_are_those_of_a_shell(pattern: str, text: str) -> None:
    assert matches(pattern, text) is fnmatch.fnmatchcase(text, pattern)
