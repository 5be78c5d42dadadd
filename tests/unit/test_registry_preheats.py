"""What hosts may pull for a pre-heat, and for how long, on both databases."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from sqlmodel import select

from fleetwide.models.registry_access import Action
from fleetwide.registry.references import ImageReference
from fleetwide.store import registry_accounts
from fleetwide.store import registry_preheats as preheats
from fleetwide.store.registry_tables import PreheatRightRow
from fleetwide.store.session import Store
from tests.registry_index import NOW

HOUR = timedelta(hours=1)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    yield opened
    opened.engine.dispose()


def grant(store: Store, run: str, repository: str, *hosts: str, now: datetime = NOW) -> None:
    image = ImageReference(repository, "1")
    with store.write() as session:
        preheats.grant(session, run, image, hosts, now=now, until=now + HOUR)


def revoke(store: Store, run: str) -> None:
    with store.write() as session:
        preheats.revoke(session, run)


def allowed(store: Store, host: str, now: datetime = NOW) -> list[str]:
    with store.read() as session:
        grants = registry_accounts.host_grants(session, host, now=now)
    assert all(grant.actions == [Action.PULL] for grant in grants)
    return [grant.repositories for grant in grants]


def test_a_host_may_pull_from_the_start_of_a_preheat_to_its_end(store: Store) -> None:
    grant(store, "preheat/1", "apps/x", "h1", "h2")
    assert allowed(store, "h1") == allowed(store, "h2") == ["apps/x"]
    assert allowed(store, "h3") == []
    revoke(store, "preheat/1")
    revoke(store, "preheat/1")
    assert allowed(store, "h1") == []


def test_the_end_of_one_preheat_takes_nothing_from_another(store: Store) -> None:
    grant(store, "preheat/1", "apps/x", "h1")
    grant(store, "preheat/2", "apps/x", "h1")
    grant(store, "preheat/3", "apps/y", "h1")
    assert allowed(store, "h1") == ["apps/x", "apps/y"]
    revoke(store, "preheat/1")
    assert allowed(store, "h1") == ["apps/x", "apps/y"]
    revoke(store, "preheat/2")
    assert allowed(store, "h1") == ["apps/y"]


def test_a_plan_that_is_made_again_replaces_the_first(store: Store) -> None:
    grant(store, "preheat/1", "apps/x", "h1", "h2")
    grant(store, "preheat/1", "apps/x", "h2", "h3")
    assert [allowed(store, host) for host in ("h1", "h2", "h3")] == [[], ["apps/x"], ["apps/x"]]


def test_what_a_killed_preheat_left_ends_and_goes_with_the_next(store: Store) -> None:
    grant(store, "preheat/killed", "apps/x", "h1")
    assert allowed(store, "h1", NOW + HOUR - timedelta(seconds=1)) == ["apps/x"]
    assert allowed(store, "h1", NOW + HOUR) == []
    grant(store, "preheat/next", "apps/y", "h2", now=NOW + HOUR)
    with store.read() as session:
        assert list(session.exec(select(PreheatRightRow.workflow_id))) == ["preheat/next"]


def test_a_preheat_of_the_largest_fleet_gives_all_of_it_the_right(store: Store) -> None:
    hosts = [f"h{number}" for number in range(5000)]
    grant(store, "preheat/1", "apps/x", *hosts)
    assert allowed(store, hosts[-1]) == ["apps/x"]
    revoke(store, "preheat/1")
    assert allowed(store, hosts[-1]) == []
