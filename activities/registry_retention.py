"""Retention in the registry: judge repositories by the policy's rules, end the tags that go."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from temporalio import activity

from activities.progress import heartbeat
from fleetwide.models.registry_gc import UpkeepKind
from fleetwide.models.registry_retention import (
    MAX_EXAMPLES,
    MAX_SHARES,
    JudgedPage,
    JudgePage,
    RegistryRetentionRequest,
    RepositoryRetention,
    RetentionPlan,
    RetentionReport,
)
from fleetwide.providers.registry_policies import PolicyFile
from fleetwide.registry.retention import (
    Newest,
    TagFacts,
    Verdict,
    judge,
    kept_counts,
    reviewed_tag,
)
from fleetwide.registry.tag_rules import matches_any
from fleetwide.store import registry_repositories
from fleetwide.store import registry_retention_report as reports
from fleetwide.store.registry_reports import keep
from fleetwide.store.registry_repositories import id_of
from fleetwide.store.registry_retention import PAGE, facts_page, live_tags, tag_times
from fleetwide.store.registry_tables import RepositoryRow
from fleetwide.store.session import Store

NAMES = 200
"""Repositories that are looked up at a time."""
BATCH = 100
"""Tags that end in one transaction: others write in between."""
BUDGET_SECONDS = 20.0
"""A page of work; where it stopped is kept in the history, so that a kill costs no more."""
REMEMBERED = timedelta(days=31)
"""Names that a report gave; it waits for 30 days at most."""
FORGOTTEN_AT_ONCE = 5000


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
        self._forget_old()
        run = activity.info().workflow_run_id or ""
        return RetentionPlan(rules=rules, source=self.policy.source, at=datetime.now(UTC), run=run)

    @activity.defn(name="registry.keep_retention")
    def keep_retention(self, report: RetentionReport) -> None:
        """Keep the report of a run as an event; the newest of a run is its last."""
        info, now = activity.info(), datetime.now(UTC)
        with self.store.write() as session:
            keep(session, UpkeepKind.RETENTION, info.workflow_id or "", report, now=now)

    def _forget_old(self) -> None:
        """Some of what nobody can apply any more; the next run forgets the rest."""
        deadline = time.monotonic() + BUDGET_SECONDS
        while time.monotonic() < deadline:
            with self.store.write() as session:
                before = datetime.now(UTC) - REMEMBERED
                if not reports.forget(session, before, FORGOTTEN_AT_ONCE):
                    return

    @activity.defn(name="registry.judge_repositories")
    def judge_repositories(self, page: JudgePage) -> JudgedPage:
        """Judge repository after repository for a while, and name what goes.

        With ``apply`` end what goes now and was named; what a try ended that was killed counts.
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
        kept = newest.names()
        judging = _Judging(row, page, RepositoryRetention(repository=row.name))
        for between, facts in self._pages(repository_id, until):
            verdicts = judge(newest, facts, until, kept=kept)
            going = {one.tag.digest for one in verdicts if one.goes}
            with self.store.read() as session:
                live = live_tags(session, repository_id, going)
            gone = [one.tag for one in judging.add(verdicts, live)]
            if page.apply:
                self._end(row.name, gone, page)
            else:
                self._name(repository_id, gone, between, page)
            heartbeat(f"looking at {row.name}", None)
        with self.store.read() as session:
            judging.ended = reports.ended_count(session, page.plan.run, repository_id)
        return judging

    def _pages(
        self, repository_id: int, until: datetime
    ) -> Iterator[tuple[tuple[str, str | None], list[TagFacts]]]:
        """Facts of the repository's tags, and between which names they lie."""
        after = ""
        while True:
            with self.store.read() as session:
                facts = facts_page(session, repository_id, after=after, until=until, limit=PAGE)
            last = facts[-1].name if len(facts) == PAGE else None
            yield (after, last), facts
            if last is None:
                return
            after = last

    def _name(
        self,
        repository_id: int,
        going: Sequence[TagFacts],
        between: tuple[str, str | None],
        page: JudgePage,
    ) -> None:
        now, run = datetime.now(UTC), page.plan.run
        with self.store.write() as session:
            reports.name_going(session, run, repository_id, going, between=between, now=now)

    def _end(self, name: str, going: Sequence[TagFacts], page: JudgePage) -> None:
        run, by = page.plan.run, page.by
        for start in range(0, len(going), BATCH):
            batch = going[start : start + BATCH]
            with self.store.write(reason=page.reason) as session:
                reports.end_named(session, run, name, batch, by=by, now=datetime.now(UTC))
            heartbeat(f"ending tags of {name}", None)


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
