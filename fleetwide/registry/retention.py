"""Which tags of a repository go: a judgement over facts, without looking anywhere."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import nlargest

from fleetwide.models.registry_policy import RetentionRule
from fleetwide.models.registry_retention import ReviewedTag
from fleetwide.registry.referrers import is_referrers_tag
from fleetwide.registry.tag_rules import deciding

NO_RULE = "no rule speaks of it"
REFERRERS = "it lists what refers to an image"


@dataclass(frozen=True)
class TagFacts:
    """What is known of a live tag; ``in_use`` says by what, one text each."""

    name: str
    digest: str
    pushed_at: datetime
    last_pulled_at: datetime | None = None
    size: int = 0
    """Bytes of the image's config and layers."""
    in_use: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What becomes of a tag: it goes by its rule unless something speaks for it."""

    tag: TagFacts
    rule: str
    reasons: tuple[str, ...]
    """What speaks for it, the weightiest first."""

    @property
    def goes(self) -> bool:
        return not self.reasons


@dataclass
class Newest:
    """The tags that ``keep_newest`` of each rule keeps, found in one pass over all tags."""

    rules: Sequence[RetentionRule]
    repository: str
    _kept: dict[str, list[tuple[datetime, str]]] = field(default_factory=dict)

    def add(self, tags: Iterable[tuple[str, datetime]]) -> None:
        """Take notice of more tags, each once, in any order: name and when it was set."""
        found: dict[str, list[tuple[datetime, str]]] = {}
        for name, pushed_at in tags:
            rule = _rule_of(self.rules, self.repository, name)
            if rule is not None and rule.keep_newest is not None:
                found.setdefault(rule.name, []).append((pushed_at, name))
        counts = {rule.name: rule.keep_newest or 0 for rule in self.rules}
        for rule_name, more in found.items():
            before = self._kept.get(rule_name, [])
            self._kept[rule_name] = nlargest(counts[rule_name], [*before, *more])

    def names(self) -> Mapping[str, frozenset[str]]:
        """Per rule the names that it keeps."""
        return {rule: frozenset(name for _, name in kept) for rule, kept in self._kept.items()}


def judge(
    newest: Newest, tags: Iterable[TagFacts], now: datetime, *, kept: Mapping[str, frozenset[str]]
) -> list[Verdict]:
    """What becomes of each tag; ``kept`` is what ``newest.names()`` said after its pass."""
    return [_verdict(newest, tag, now, kept) for tag in tags]


def judge_all(
    rules: Sequence[RetentionRule], repository: str, tags: Sequence[TagFacts], now: datetime
) -> list[Verdict]:
    """The same for a repository whose tags are all at hand.

    Whoever judges again later with the same ``now``, over the tags that were set until then, finds
    no tag to go that did not go before: pulls, uses and deletions only ever speak for more tags.
    """
    newest = Newest(rules, repository)
    newest.add((tag.name, tag.pushed_at) for tag in tags)
    return judge(newest, tags, now, kept=newest.names())


def _rule_of(rules: Sequence[RetentionRule], repository: str, tag: str) -> RetentionRule | None:
    return None if is_referrers_tag(tag) else deciding(rules, repository, tag)


def _verdict(
    newest: Newest, tag: TagFacts, now: datetime, kept: Mapping[str, frozenset[str]]
) -> Verdict:
    rule = _rule_of(newest.rules, newest.repository, tag.name)
    if rule is None:
        why = REFERRERS if is_referrers_tag(tag.name) else NO_RULE
        return Verdict(tag, "", (why,))
    reasons = [f"in use: {use}" for use in tag.in_use]
    if tag.name in kept.get(rule.name, ()):
        reasons.append(f"one of the newest {rule.keep_newest}")
    if _within(tag.pushed_at, rule.keep_pushed_days, now):
        reasons.append(f"pushed in the last {rule.keep_pushed_days} days")
    if _within(tag.last_pulled_at, rule.keep_pulled_days, now):
        reasons.append(f"pulled in the last {rule.keep_pulled_days} days")
    return Verdict(tag, rule.name, tuple(reasons))


def _within(moment: datetime | None, days: int | None, now: datetime) -> bool:
    return moment is not None and days is not None and moment > now - timedelta(days=days)


def kept_counts(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """How many tags stay for which first reason; uses are counted together."""
    counts: Counter[str] = Counter()
    for verdict in verdicts:
        if not verdict.goes:
            counts[verdict.reasons[0].partition(":")[0]] += 1
    return dict(counts)


def reviewed_tag(verdict: Verdict) -> ReviewedTag:
    """The verdict as people read it."""
    tag = verdict.tag
    return ReviewedTag(
        tag=tag.name,
        digest=tag.digest,
        rule=verdict.rule,
        goes=verdict.goes,
        reasons=list(verdict.reasons),
        pushed_at=tag.pushed_at,
        last_pulled_at=tag.last_pulled_at,
        size=tag.size,
    )
