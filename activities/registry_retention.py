"""Retention in the registry: judge repositories by the policy's rules, end the tags that go."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from temporalio import activity

from activities.progress import heartbeat
from fleetwide.models.registry_retention import (
    MAX_EXAMPLES,
    MAX_SHARES,
    JudgedPage,
    JudgePage,
    RegistryRetentionRequest,
    RepositoryRetention,
    RetentionPlan,
)
from fleetwide.providers.registry_policies import PolicyFile
from fleetwide.registry.retention import Newest, Verdict, judge, kept_counts, reviewed_tag
from fleetwide.registry.tag_rules import matches_any
from fleetwide.store import registry_repositories
from fleetwide.store.registry_repositories import id_of
from fleetwide.store.registry_retention import (
    PAGE,
    end_tags,
    facts_page,
    live_tags,
    tag_times,
)
from fleetwide.store.registry_tables import RepositoryRow
from fleetwide.store.session import Store

NAMES = 200
"""Repositories that are looked up at a time."""
BATCH = 100
"""Tags that end in one transaction: others write in between."""
BUDGET_SECONDS = 20.0
"""A page of work; where it stopped is kept in the history, so that a kill costs no more."""


@dataclass
class _Shared:
    """Tags that mean one image: it only goes when all of them do."""

    live: int
    size: int
    goes: int = 0


@dataclass
class _Judging:
    """One repository on its way through the rules."""

    repository: RepositoryRow
    page: JudgePage
    share: RepositoryRetention
    tags: int = 0
    ended: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    shared: dict[str, _Shared] = field(default_factory=dict)

    def add(self, verdicts: Sequence[Verdict], live: dict[str, int]) -> list[Verdict]:
        """Count a page of verdicts; those that go."""
        self.tags += len(verdicts)
        for reason, count in kept_counts(verdicts).items():
            self.kept[reason] = self.kept.get(reason, 0) + count
        going = [one for one in verdicts if one.goes]
        room = MAX_EXAMPLES - len(self.share.examples)
        examples = [*self.share.examples, *map(reviewed_tag, going[:room])]
        freed = sum(self._freed(one, live.get(one.tag.digest, 1)) for one in going)
        update = {"goes": self.share.goes + len(going), "bytes": self.share.bytes + freed}
        self.share = self.share.model_copy(update={**update, "examples": examples})
        return going

    def _freed(self, verdict: Verdict, live: int) -> int:
        tag = verdict.tag
        if live <= 1:
            return tag.size
        shared = self.shared.setdefault(tag.digest, _Shared(live, tag.size))
        shared.goes += 1
        return shared.size if shared.goes == shared.live else 0


class RegistryRetentionActivities:
    """Control side: the index and the policy file."""

    def __init__(self, store: Store, policy: Path | None) -> None:
        self.store = store
        self.policy = PolicyFile(policy)

    @activity.defn(name="registry.plan_retention")
    def plan_retention(self, _request: RegistryRetentionRequest) -> RetentionPlan:
        """The rules as they are now; the whole run goes by them.

        Raises:
            InvalidInput: the policy file is wrong.
        """
        rules = self.policy.current().retention
        return RetentionPlan(rules=rules, source=self.policy.source, at=datetime.now(UTC))

    @activity.defn(name="registry.judge_repositories")
    def judge_repositories(self, page: JudgePage) -> JudgedPage:
        """Judge repository after repository for a while, and end what goes when asked to.

        Done again it judges again: a tag that has ended meanwhile is not counted twice.
        """
        deadline = time.monotonic() + BUDGET_SECONDS
        result, after = JudgedPage(), page.after
        while True:
            with self.store.read() as session:
                rows = registry_repositories.page(session, after=after, limit=NAMES)
            for row in rows:
                after = row.name
                heartbeat(f"looking at {row.name}", None)
                if self._is_wanted(page, row.name):
                    result = _with(result, self._judge(row, page))
                if time.monotonic() > deadline:
                    return result.model_copy(update={"next": after})
            if len(rows) < NAMES:
                return result

    def _is_wanted(self, page: JudgePage, name: str) -> bool:
        asked = page.repositories is None or matches_any(page.repositories, name)
        return asked and any(matches_any(rule.repositories, name) for rule in page.plan.rules)

    def _judge(self, row: RepositoryRow, page: JudgePage) -> _Judging:
        until, repository_id = page.plan.at, id_of(row)
        newest = Newest(page.plan.rules, row.name)
        for times in tag_times(self.store, repository_id, until):
            newest.add(times)
            heartbeat(f"looking at {row.name}", None)
        kept, after = newest.names(), ""
        judging = _Judging(row, page, RepositoryRetention(repository=row.name))
        while True:
            with self.store.read() as session:
                facts = facts_page(session, repository_id, after=after, until=until)
                verdicts = judge(newest, facts, until, kept=kept)
                going = {one.tag.digest for one in verdicts if one.goes}
                live = live_tags(session, repository_id, going)
            gone = judging.add(verdicts, live)
            if page.apply:
                judging.ended += self._end(row.name, gone, page.by)
            if len(facts) < PAGE:
                return judging
            after = facts[-1].name
            heartbeat(f"looking at {row.name}", None)

    def _end(self, name: str, going: Sequence[Verdict], by: str) -> int:
        ended = 0
        for start in range(0, len(going), BATCH):
            batch = [one.tag for one in going[start : start + BATCH]]
            with self.store.write() as session:
                ended += end_tags(session, name, batch, by=by, now=datetime.now(UTC))
            heartbeat(f"ending tags of {name}", None)
        return ended


def _with(result: JudgedPage, judged: _Judging) -> JudgedPage:
    kept = dict(result.kept)
    for reason, count in judged.kept.items():
        kept[reason] = kept.get(reason, 0) + count
    shares = [*result.shares, judged.share] if judged.share.goes else result.shares
    return JudgedPage(
        repositories=result.repositories + 1,
        tags=result.tags + judged.tags,
        goes=result.goes + judged.share.goes,
        bytes=result.bytes + judged.share.bytes,
        kept=kept,
        shares=sorted(shares, key=lambda one: (-one.goes, one.repository))[:MAX_SHARES],
        ended=result.ended + judged.ended,
    )
