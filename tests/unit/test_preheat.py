"""Which hosts, and who fetches from whom."""

import pytest

from fleetwide.errors import Conflict, InvalidInput
from fleetwide.models.registry_preheat import MAX_TOLD, PreheatOutcome, PreheatSpec, WarmedHost
from fleetwide.registry import preheat
from fleetwide.registry.digests import digest_of
from fleetwide.registry.preheat import Spread, choose_hosts, platform_of

DIGEST, OTHER = digest_of(b"one"), digest_of(b"two")
ACTIVE = {f"h{number}": {"zone": "a" if number % 2 else "b"} for number in range(10)}


def spec(**more: object) -> PreheatSpec:
    return PreheatSpec.model_validate({"reference": "apps/hello:1", **more})


def test_a_share_of_the_hosts_that_fit_is_chosen_the_same_way_each_time() -> None:
    chosen = choose_hosts(ACTIVE, spec(labels={"zone": "a"}, fraction=0.5), DIGEST)
    assert len(chosen) == 3
    assert all(ACTIVE[host]["zone"] == "a" for host in chosen)
    assert chosen == choose_hosts(ACTIVE, spec(labels={"zone": "a"}, fraction=0.5), DIGEST)
    assert set(choose_hosts(ACTIVE, spec(), DIGEST)) == set(ACTIVE)
    assert choose_hosts(ACTIVE, spec(hosts=["h3"]), DIGEST) == ["h3"]


def test_a_host_that_takes_no_work_is_told_and_none_at_all_too() -> None:
    with pytest.raises(InvalidInput, match="h99"):
        choose_hosts(ACTIVE, spec(hosts=["h1", "h99"]), DIGEST)
    with pytest.raises(Conflict):
        choose_hosts(ACTIVE, spec(labels={"zone": "c"}), DIGEST)


def test_a_few_seed_and_whoever_is_done_serves() -> None:
    spread = Spread(["a", "b", "c", "d"], seeds=1, fan_out=2)
    first = spread.next()
    assert first is not None
    assert (first.host, first.peer) == ("a", None)
    assert spread.next() is None
    spread.ended(first, "http://a")
    steps = [spread.next(), spread.next()]
    assert [(step.host, step.peer) for step in steps if step] == [
        ("b", "http://a"),
        ("c", "http://a"),
    ]
    assert spread.next() is None


def test_when_every_peer_is_distrusted_the_registry_serves() -> None:
    spread = Spread(["a", "b"], seeds=1, fan_out=1)
    first = spread.next()
    assert first is not None
    spread.ended(first, "http://a")
    spread.distrust("http://a")
    last = spread.next()
    assert last is not None
    assert last.peer is None


def test_a_pre_heat_that_goes_on_knows_who_serves() -> None:
    spread = Spread(["b"], seeds=1, fan_out=1, peers=["http://a"])
    step = spread.next()
    assert step is not None
    assert step.peer == "http://a"
    spread.ended(step, "http://b")
    assert spread.peers == ["http://a", "http://b"]


def test_more_hosts_than_fit_into_a_message_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preheat, "MAX_CHOSEN", 9)
    with pytest.raises(Conflict, match="10 hosts fit") as refused:
        choose_hosts(ACTIVE, spec(), DIGEST)
    assert "--fraction" in str(refused.value.hint)
    assert len(choose_hosts(ACTIVE, spec(fraction=0.9), DIGEST)) == 9


def test_an_outcome_counts_all_hosts_and_names_some() -> None:
    outcome = PreheatOutcome(reference="apps/hello")
    for number in range(MAX_TOLD + 2):
        outcome = outcome.with_warm(WarmedHost(host_id=f"h{number}", bytes_peers=2))
        outcome = outcome.with_failed(f"f{number}", "the disk is full" * 100)
    assert outcome.done == outcome.lost == MAX_TOLD + 2
    assert outcome.bytes_peers == 2 * (MAX_TOLD + 2)
    assert len(outcome.warm) == len(outcome.failed) == MAX_TOLD
    assert len(outcome.model_dump_json()) < 2**18


def test_the_image_of_a_platform() -> None:
    entries: list[dict[str, object]] = [
        {"digest": OTHER, "platform": {"os": "linux", "architecture": "arm64"}},
        {"digest": DIGEST, "platform": {"os": "linux", "architecture": "amd64"}},
        {"digest": OTHER},
    ]
    assert platform_of(entries, "amd64") == DIGEST
    assert platform_of(entries, "riscv64") is None
