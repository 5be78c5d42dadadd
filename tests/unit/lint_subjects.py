"""Images to look over, which exist only as data."""

import stat
from typing import Any

from fleetwide.bakery.lint import lint
from fleetwide.bakery.lint_subject import LintSubject
from fleetwide.baseos.checks import Entry
from fleetwide.models.bakes import LintFinding
from fleetwide.models.policy import BakeryPolicy, Rule
from tests.unit.bakes import BASE, bake_spec

FILE, FOLDER, LINK = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK
DAY = 86_400
GOOD = {"owner": "ana", "build": {"commit": "abc123"}}


def entry(path: str, mode: int = FILE | 0o644, size: int = 1) -> Entry:
    return Entry(path, mode, size)


def subject(*entries: Entry, spec: dict[str, Any] | None = None, **facts: Any) -> LintSubject:
    """A bake that breaks no rule, but for what is given."""
    given: dict[str, Any] = {"base": BASE, "layer_size": 100, "today": BASE.created_epoch + DAY}
    asked = bake_spec(**{**GOOD, **(spec or {})})
    return LintSubject(spec=asked, entries=entries, **{**given, **facts})


def broken(looked_at: LintSubject, **policy: Any) -> list[LintFinding]:
    return lint(looked_at, BakeryPolicy.model_validate(policy))


def told(rule: Rule, looked_at: LintSubject, **policy: Any) -> list[tuple[str, str]]:
    """Place and message of each finding of that rule."""
    return [(one.where, one.message) for one in broken(looked_at, **policy) if one.rule == rule]
