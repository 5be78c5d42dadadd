"""What is copied where, and in which order."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from fleetwide.errors import InvalidInput, RegistryUnavailable
from fleetwide.models.registry_regions import Blob, RegistryRegions
from fleetwide.providers.registry_copies import checked_chunks
from fleetwide.registry.digests import digest_of
from fleetwide.registry.replication import (
    Node,
    chosen_regions,
    copy_order,
    regions_of,
    upstream_of,
    wanted_by_event,
)

NOW = datetime(2026, 11, 30, tzinfo=UTC)
REGIONS = RegistryRegions.model_validate(
    {
        "region": "home",
        "regions": {"east": {"url": "https://east.example"}, "west": {"url": "http://west:5000"}},
        "rules": [
            {"repositories": ["apps/*"], "regions": ["west"]},
            {"repositories": ["apps/hello", "mirror/*"], "regions": ["east"]},
        ],
        "upstreams": {
            "mirror": {"url": "https://hub.example", "repository": "library"},
            "plain/sub": {"url": "https://plain.example"},
        },
    }
)


def test_every_rule_that_speaks_of_a_repository_adds_its_regions() -> None:
    assert regions_of(REGIONS, "apps/hello") == ["east", "west"]
    assert regions_of(REGIONS, "apps/other") == ["west"]
    assert regions_of(REGIONS, "private/thing") == []


def test_what_is_asked_for_goes_before_the_rules() -> None:
    assert chosen_regions(REGIONS, "apps/other") == ["west"]
    assert chosen_regions(REGIONS, "apps/other", ["east", "east"]) == ["east"]


def test_who_can_copy_nowhere_is_told_what_to_do() -> None:
    alone = RegistryRegions()
    with pytest.raises(InvalidInput, match="knows of no other region") as nowhere:
        chosen_regions(alone, "apps/hello", ["east"])
    assert "FLEETWIDE_REGISTRY_REGIONS" in str(nowhere.value.hint)
    with pytest.raises(InvalidInput, match="there is no region north") as unknown:
        chosen_regions(REGIONS, "apps/hello", ["north", "east"])
    assert "east, west" in str(unknown.value.hint)
    with pytest.raises(InvalidInput, match="no rule says where private/x") as unruled:
        chosen_regions(REGIONS, "private/x")
    assert "fleetwide registry replicate private/x:TAG --region" in str(unruled.value.hint)


def test_what_came_from_an_upstream_is_not_copied() -> None:
    assert regions_of(REGIONS, "mirror/debian") == []


def test_a_mirrors_name_at_the_upstream() -> None:
    found = upstream_of(REGIONS, "mirror/debian")
    assert found is not None
    assert found[0].address == "https://hub.example"
    assert found[1] == "library/debian"
    deep = upstream_of(REGIONS, "plain/sub/a/b")
    assert deep is not None
    assert deep[1] == "a/b"
    for own in ("mirror", "mirrored/x", "plain/subs/x"):
        assert upstream_of(REGIONS, own) is None


def test_children_come_before_their_index_and_referrers_after_their_subject() -> None:
    nodes = {
        "index": Node("index", children=("a", "b", "gone"), referrers=("signature",)),
        "a": Node("a", referrers=("sbom",)),
        "b": Node("b"),
        "sbom": Node("sbom", referrers=("signature-of-sbom",)),
        "signature": Node("signature"),
        "signature-of-sbom": Node("signature-of-sbom"),
    }
    order = copy_order("index", nodes.get)
    assert sorted(order) == sorted(nodes)
    for first, then in (
        ("a", "index"),
        ("b", "index"),
        ("a", "sbom"),
        ("sbom", "signature-of-sbom"),
        ("index", "signature"),
    ):
        assert order.index(first) < order.index(then)
    assert copy_order("unknown", nodes.get) == []


def test_nobody_can_make_the_order_endless() -> None:
    with pytest.raises(InvalidInput, match="more than"):
        copy_order("0", lambda one: Node(one, children=(f"{int(one) + 1}",)))
    circle = {"a": Node("a", children=("b",)), "b": Node("b", referrers=("a",))}
    assert sorted(copy_order("a", circle.get)) == ["a", "b"]


def test_only_pushes_and_moved_tags_concern_other_regions() -> None:
    data = {"repository": "apps/hello", "digest": digest_of(b"")}
    assert wanted_by_event(REGIONS, "manifest-pushed", data) == ["east", "west"]
    assert wanted_by_event(REGIONS, "tag-moved", data) == ["east", "west"]
    assert wanted_by_event(REGIONS, "tag-deleted", data) == []
    assert wanted_by_event(REGIONS, "manifest-pushed", {"repository": "apps/hello"}) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"region": "east"}, "this region itself"),
        ({"regions": {"upstream": {"url": "http://x"}}, "rules": []}, "may be called"),
        ({"rules": [{"repositories": ["*"], "regions": ["north"]}]}, "names north"),
        ({"regions": {"east": {"url": "http://ada:secret@x"}}}, "host and port alone"),
        ({"regions": {"east": {"url": "http://x/v2"}}}, "host and port alone"),
        (
            {"upstreams": {"a": {"url": "http://x"}, "a/b": {"url": "http://y"}}},
            "which upstream has it",
        ),
        (
            {"regions": {"east": {"url": "http://x", "login": {"username": "ada"}}}},
            "password_file or password_env",
        ),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(change: dict[str, object], message: str) -> None:
    document = {**REGIONS.model_dump(mode="json"), **change}
    with pytest.raises(ValidationError, match=message):
        RegistryRegions.model_validate(document)


@pytest.mark.parametrize("sent", [b"short", b"other bytes", b"more than was announced"])
def test_other_bytes_than_the_blobs_end_the_copy_before_its_last_chunk(sent: bytes) -> None:
    blob = Blob(digest=digest_of(b"right bytes"), size=11)
    with pytest.raises(RegistryUnavailable):
        list(checked_chunks([sent], blob))
    assert b"".join(chunk for chunk, _ in checked_chunks([b"right", b" bytes"], blob)) == (
        b"right bytes"
    )
