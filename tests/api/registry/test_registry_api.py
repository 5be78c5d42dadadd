"""The registry's routes over an index alone: neither registry nor Temporal answers here."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from fleetwide.store import registry_manifests as manifests
from fleetwide.store import registry_repositories as repositories
from fleetwide.store.session import Store
from tests.bare_api import bare_api
from tests.registry_index import NOW, blob, image, index, push, upload

A, B = image("a"), image("a", "b")
# Two blobs of a byte, a config of six, and the manifests.
APPS_X = 8 + len(A.data) + len(B.data) + len(index(A, B).data)
CI_X = 8 + len(A.data) + len(B.data)
HOUR = timedelta(hours=1)
ROOT = "/v1/registry"
POLICY = """
quotas: {ci: 1KiB}
retention: [{name: old, repositories: ["ci/*"], keep_newest: 1}]
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    monkeypatch.setenv("FLEETWIDE_REGISTRY_POLICY", str(policy))
    opened = Store.open(f"sqlite:///{tmp_path}/fleetwide.db")
    yield opened
    opened.engine.dispose()


@pytest.fixture
def http(store: Store, tmp_path: Path) -> Iterator[TestClient]:
    with bare_api(tmp_path) as client:
        for name in ("apps/x", "ci/x", "ci/y"):
            upload(store, name, "config", "a", "b")
        push(store, "apps/x", A, tags=["1.0", "latest"])
        push(store, "apps/x", B, tags=["2.0", "latest"], now=NOW + HOUR)
        push(store, "apps/x", index(A, B), tags=["all"], now=NOW + HOUR)
        push(store, "ci/x", A, tags=["one", "sha256-" + "0" * 64])
        push(store, "ci/x", B, tags=["two"], now=NOW + HOUR)
        yield client


def get(http: TestClient, path: str, **params: Any) -> Any:
    response = http.get(f"{ROOT}{path}", params=params)
    assert response.status_code == 200, response.text
    return response.json()


def walk(http: TestClient, path: str, **params: Any) -> list[str]:
    found = list[str]()
    cursor: str | None = ""
    while cursor is not None:
        page = get(http, path, cursor=cursor, limit=1, **params)
        assert len(page["items"]) <= 1
        found += [one.get("name", one.get("tag")) for one in page["items"]]
        cursor = page["next"]
    return found


def test_repositories_are_listed_and_found_page_by_page(http: TestClient) -> None:
    assert walk(http, "/repositories") == ["apps/x", "ci/x", "ci/y"]
    assert walk(http, "/search", q="X") == ["apps/x", "ci/x"]
    assert walk(http, "/search", q="%") == []
    first = get(http, "/repositories")["items"][0]
    assert (first["tags"], first["manifests"], first["size"]) == (4, 3, APPS_X)


def test_tags_tell_their_images_and_rules_but_no_lists_of_referrers(http: TestClient) -> None:
    assert walk(http, "/repositories/ci/x/tags") == ["one", "two"]
    assert walk(http, "/repositories/apps%2Fx/tags", prefix="l") == ["latest"]
    by_name = {one["name"]: one for one in get(http, "/repositories/apps/x/tags")["items"]}
    assert (by_name["2.0"]["digest"], by_name["2.0"]["size"]) == (B.digest, B.content_size)
    assert (by_name["2.0"]["immutable"], by_name["latest"]["immutable"]) == ("bakes", None)


def test_an_image_tells_its_layers_and_who_shares_them(http: TestClient) -> None:
    found = get(http, "/repositories/apps/x/manifests/2.0")
    assert found == get(http, f"/repositories/apps/x/manifests/{B.digest}")
    layers = [(one["digest"], one["images"], one["repositories"]) for one in found["layers"]]
    assert layers == [(blob("a"), 4, 2), (blob("b"), 2, 2)]
    assert (found["tags"], found["pushed_by"], found["in_use"]) == (["2.0", "latest"], "tests", [])
    assert get(http, "/repositories/apps/x/manifests/all")["children"] == [A.digest, B.digest]


def test_what_a_tag_has_meant(http: TestClient) -> None:
    rows = get(http, "/repositories/apps/x/tags/latest/history")["items"]
    assert [(one["digest"], one["ended_at"] is None) for one in rows] == [
        (B.digest, True),
        (A.digest, False),
    ]
    assert get(http, "/repositories/apps/x/tags/latest")["digest"] == B.digest
    then = (NOW + HOUR / 2).isoformat()
    assert get(http, "/repositories/apps/x/tags/latest", at=then)["digest"] == A.digest
    before = (NOW - HOUR).isoformat()
    response = http.get(f"{ROOT}/repositories/apps/x/tags/latest", params={"at": before})
    assert response.status_code == 404


def undo(http: TestClient, tag: str, **body: Any) -> Any:
    return http.post(f"{ROOT}/repositories/apps/x/tags/{tag}/undo", json={"by": "ana", **body})


def test_undo_goes_back_and_forth_and_brings_a_deleted_tag_back(http: TestClient) -> None:
    assert undo(http, "latest").json()["digest"] == A.digest
    assert undo(http, "latest", to=B.digest).json()["digest"] == B.digest
    assert http.delete(f"{ROOT}/repositories/apps/x/tags/latest?by=ana").status_code == 204
    assert http.delete(f"{ROOT}/repositories/apps/x/tags/latest").status_code == 404
    assert undo(http, "latest").json()["digest"] == B.digest
    rows = get(http, "/repositories/apps/x/tags/latest/history")["items"]
    assert [one["by"] for one in rows] == ["ana", "ana", "ana", "tests", "tests"]


def test_undo_says_why_it_cannot(http: TestClient, store: Store) -> None:
    assert undo(http, "1.0").status_code == 409
    assert undo(http, "nothing").status_code == 404
    assert undo(http, "latest", to=blob("a")).status_code == 409
    push(store, "apps/x", B, tags=["1.0"], now=NOW + 2 * HOUR)
    denied = undo(http, "1.0")
    assert (denied.status_code, denied.json()["code"]) == (403, "Denied")
    assert "rule bakes" in denied.json()["detail"]
    with store.write() as session:
        row = repositories.require(session, "apps/x")
        manifests.delete(session, row, A.digest, by="ana", now=NOW + 3 * HOUR)
    gone = undo(http, "latest")
    assert (gone.status_code, "is gone" in gone.json()["detail"]) == (409, True)


def resolve(http: TestClient, *references: str) -> list[dict[str, Any]]:
    response = http.post(f"{ROOT}/resolve", json={"references": references})
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


def test_the_index_resolves_while_the_registry_is_away(http: TestClient) -> None:
    pinned = f"apps/x@{B.digest}"
    assert get(http, "/resolve", reference="apps/x:2.0")["pinned"] == pinned
    first, again, unknown, wrong = resolve(http, "apps/x:2.0", pinned, "apps/x:9", "No Such")
    assert first["pinned"] == again["pinned"] == pinned
    assert (unknown["code"], unknown["digest"]) == ("RegistryUnavailable", None)
    assert wrong["code"] == "InvalidInput"
    assert http.get(f"{ROOT}/resolve", params={"reference": "apps/x:9"}).status_code == 503


def test_a_batch_has_an_end(http: TestClient) -> None:
    assert len(resolve(http, *["apps/x:2.0"] * 500)) == 500
    for references in ([], ["apps/x:2.0"] * 501, ["x" * 500]):
        response = http.post(f"{ROOT}/resolve", json={"references": references})
        assert response.status_code == 422


def test_usage_tells_quotas_and_what_sharing_saves(http: TestClient) -> None:
    report = get(http, "/usage")
    assert [(one["name"], one["size"], one["quota"]) for one in report["items"]] == [
        ("apps", APPS_X, None),
        ("ci", CI_X + 8, 1024),
    ]
    assert (report["size"], report["stored"]) == (APPS_X + CI_X + 8, 8)
    assert walk(http, "/usage") == ["apps", "ci"]
    [owner] = get(http, "/usage", by="owner", name="tests")["items"]
    assert (owner["repositories"], owner["size"]) == (3, APPS_X + CI_X + 8)


def test_a_broken_policy_is_the_servers_fault_and_its_place_is_not_told(
    http: TestClient, tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_text("quotas: [")
    for path in ("/usage", "/namespaces/ci", "/repositories/apps/x/tags"):
        response = http.get(f"{ROOT}{path}")
        assert (response.status_code, str(tmp_path) in response.text) == (503, False)
        assert response.headers["Retry-After"]


def test_a_quota_is_set_and_given_back_to_the_file(http: TestClient) -> None:
    path = f"{ROOT}/namespaces/ci"
    assert get(http, "/namespaces/ci")["set_by"] == "policy"
    body = {"quota": "2KiB", "owner": "team"}
    done = http.put(path, json=body).json()
    assert (done["quota"], done["set_by"], done["used"]) == (2048, "settings", CI_X + 8)
    assert get(http, "/usage", name="ci")["items"][0]["owner"] == "team"
    assert http.put(path, json={}).json()["quota"] is None
    assert http.delete(path).status_code == 204
    assert get(http, "/namespaces/ci")["quota"] == 1024
    assert get(http, "/namespaces/none")["set_by"] == "nobody"
    for wrong in ({"quota": -1}, {"quta": 1}, {"owner": "a\nb"}):
        assert http.put(path, json=wrong).status_code == 422


def test_the_rules_tell_what_they_would_make_of_each_tag(http: TestClient) -> None:
    path = "/repositories/ci/x/retention"
    rows = {one["tag"]: one for one in get(http, path)["items"]}
    assert (rows["one"]["goes"], rows["two"]["goes"]) == (True, False)
    assert rows["two"]["reasons"] == ["one of the newest 1"]
    assert len(walk(http, path)) == 3


@pytest.mark.parametrize(
    "path",
    [
        "/repositories/no/such/tags",
        "/repositories/apps/x/tags/none",
        "/repositories/apps/x/tags/none/history",
        "/repositories/apps/x/manifests/none",
        f"/repositories/apps/x/manifests/sha256:{'0' * 64}",
        "/repositories/no/such/retention",
    ],
)
def test_what_is_not_there_is_no_trouble(http: TestClient, path: str) -> None:
    response = http.get(f"{ROOT}{path}")
    assert response.status_code == 404
    assert response.json()["hint"].startswith("fleetwide registry")


@pytest.mark.parametrize(
    "path",
    [
        "/repositories/..%2f..%2fv2/tags",
        "/repositories/APPS/tags",
        f"/repositories/{'a' * 256}/tags",
        "/repositories/apps%00/tags",
        "/repositories/apps/x/tags/.hidden",
        f"/repositories/apps/x/tags/{'a' * 129}",
        "/repositories/apps/x/manifests/sha512:ab",
        "/repositories/apps/x/tags/latest?at=yesterday",
        "/repositories/apps/x/tags/latest?at=2026-01-01T00:00:00",
        "/repositories?limit=0",
        "/repositories?cursor=" + "a" * 256,
        "/search",
        "/namespaces/A",
        "/usage?by=colour",
    ],
)
def test_what_is_no_name_is_refused(http: TestClient, path: str) -> None:
    assert http.get(f"{ROOT}{path}").status_code == 422


def test_now_is_a_time(http: TestClient) -> None:
    at = datetime.now(UTC).isoformat()
    assert get(http, "/repositories/apps/x/tags/latest", at=at)["digest"] == B.digest
