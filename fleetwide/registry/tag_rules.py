"""Which rule speaks of a tag, and whether the tag may get another meaning."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TypeVar

from fleetwide.models.registry_policy import ImmutableRule, RegistryPolicy, TagRule

Rule = TypeVar("Rule", bound=TagRule)
ANYBODY = ""
"""Who pushes where the registry asks nobody for a name."""


def matches(pattern: str, text: str) -> bool:
    """Whether ``*`` (any characters) and ``?`` (one) of the pattern can be filled to ``text``."""
    return _compiled(pattern).fullmatch(text) is not None


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    # What stands between two stars is looked for once, without going back: a pattern of many
    # stars would otherwise take time without end.
    first, *parts = re.split(r"\*+", pattern)
    if not parts:
        return re.compile(_literal(first))
    *middle, last = parts
    text = _literal(first) + "".join(f"(?>.*?{_literal(part)})" for part in middle)
    return re.compile(f"{text}.*{_literal(last)}")


def _literal(part: str) -> str:
    return "".join("." if letter == "?" else re.escape(letter) for letter in part)


def matches_any(patterns: Iterable[str], text: str) -> bool:
    return any(matches(pattern, text) for pattern in patterns)


def speaks_of(rule: TagRule, repository: str, tag: str) -> bool:
    """Whether the rule is about this tag of this repository."""
    return (
        matches_any(rule.repositories, repository)
        and matches_any(rule.tags, tag)
        and not matches_any(rule.exceptions, tag)
    )


def deciding(rules: Sequence[Rule], repository: str, tag: str) -> Rule | None:
    """The first rule that speaks of the tag."""
    return next((rule for rule in rules if speaks_of(rule, repository, tag)), None)


def immutable(
    policy: RegistryPolicy, repository: str, tag: str, *, by: str | None = None
) -> ImmutableRule | None:
    """The rule that keeps the tag's meaning, if ``by`` has to obey it; None for no account.

    Where nobody is asked for a name (``ANYBODY``), a rule that spares an account spares all:
    it could not tell who that is.
    """
    rule = deciding(policy.immutable_rules, repository, tag)
    if rule is None or by is None:
        return rule
    spared = by in rule.movable_by or (by == ANYBODY and bool(rule.movable_by))
    return None if spared else rule


def refusal(rule: ImmutableRule, reference: str, before: str, source: str) -> str:
    """Why a push is refused; ``source`` is the policy file or what stands for it."""
    return (
        f"{reference} is immutable and means {before}: rule {rule.name} of {source} "
        f"keeps it; push under another tag"
    )
