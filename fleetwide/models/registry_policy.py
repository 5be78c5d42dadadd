"""Registry policy: which tags stay, which images may go, how much a namespace may hold."""

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from fleetwide.models.base import Bytes, Spec
from fleetwide.models.texts import Line

MAX_RULES = 200
MAX_PATTERNS = 100
PATTERN = r"^[A-Za-z0-9_*?][A-Za-z0-9_./*?-]{0,254}$"
NAMESPACE_PATTERN = r"^[a-z0-9]+(?:[._-]+[a-z0-9]+)*$"

Pattern = Annotated[str, Field(pattern=PATTERN, examples=["apps/*"])]
"""A name in which ``*`` stands for any characters, also slashes, and ``?`` for one."""
Patterns = Annotated[list[Pattern], Field(max_length=MAX_PATTERNS)]
SomePatterns = Annotated[list[Pattern], Field(min_length=1, max_length=MAX_PATTERNS)]
RuleName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", examples=["releases"])]
Namespace = Annotated[str, Field(pattern=NAMESPACE_PATTERN, max_length=200, examples=["apps"])]
Days = Annotated[int, Field(ge=1, le=36_500)]

MOVING_TAGS = (
    *("latest", "stable", "candidate", "previous", "canary", "edge", "nightly", "dev"),
    *("main", "master", "sha256-*"),
)
"""Tags that are meant to move: channels, branches, and the lists of what refers to an image."""
BUILDER = "builder"
"""The account of the platform's own builders."""


class TagRule(Spec):
    """Which tags of which repositories a rule speaks of."""

    name: RuleName
    repositories: SomePatterns
    tags: SomePatterns = ["*"]
    exceptions: Patterns = []
    """Tags that the rule does not speak of, although ``tags`` does."""


class ImmutableRule(TagRule):
    """Tags that always mean the same image."""

    movable_by: Annotated[list[Line], Field(max_length=MAX_PATTERNS)] = []
    """Accounts that may move such a tag all the same."""


PLATFORM_RULES = (
    ImmutableRule(
        name="os-releases",
        repositories=["baseos/*"],
        exceptions=list(MOVING_TAGS),
        movable_by=[BUILDER],
    ),
    ImmutableRule(
        name="bakes",
        repositories=["apps/*"],
        exceptions=list(MOVING_TAGS),
        movable_by=[BUILDER],
    ),
)
"""Releases of OS lines and baked images: only a build of the platform's own may replace one."""


class RetentionRule(TagRule):
    """Which tags go: those that nothing of this, and nothing that runs, speaks for."""

    keep_newest: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """The newest tags of each repository stay, as many as this."""
    keep_pushed_days: Days | None = None
    """Tags that were set in the last days stay."""
    keep_pulled_days: Days | None = None
    """Tags whose image was pulled in the last days stay."""

    @model_validator(mode="after")
    def _keeps_something(self) -> "RetentionRule":
        if not (self.keep_newest or self.keep_pushed_days or self.keep_pulled_days):
            raise ValueError(
                "must have keep_newest, keep_pushed_days or keep_pulled_days, or every tag would go"
            )
        return self


QuotaName = Annotated[
    str,
    Field(
        pattern=rf"^(?:\*|{NAMESPACE_PATTERN.strip('^$')})$", max_length=200, examples=["apps", "*"]
    ),
]
Quota = Annotated[Bytes, Field(ge=1, examples=["100GiB"])]


class RegistryPolicy(Spec):
    """An organisation's rules for its registry; without any, the platform's own hold."""

    platform_rules: bool = True
    """Whether version tags of OS lines (``baseos/*``) and baked images (``apps/*``) are immutable;
    ``false`` leaves it to ``immutable``."""
    immutable: Annotated[list[ImmutableRule], Field(max_length=MAX_RULES)] = []
    """Looked at before the platform's own; the first rule that speaks of a tag decides."""
    retention: Annotated[list[RetentionRule], Field(max_length=MAX_RULES)] = []
    """The first rule that speaks of a tag decides; a tag without a rule stays."""
    quotas: Annotated[dict[QuotaName, Quota], Field(max_length=10_000)] = {}
    """Bytes by namespace, the first part of a repository's name; ``*`` is for all others."""

    @field_validator("immutable", "retention")
    @classmethod
    def _names_differ(cls, rules: list[TagRule]) -> list[TagRule]:
        names = [rule.name for rule in rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two rules are called {', '.join(twice)}")
        return rules

    @property
    def immutable_rules(self) -> list[ImmutableRule]:
        """All rules in the order in which they are asked."""
        return [*self.immutable, *(PLATFORM_RULES if self.platform_rules else ())]
