"""The registry's pages: what they show, that nothing in an image's names becomes markup."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from fleetwide.registry.manifests import parse_manifest
from fleetwide.registry.oci import CONFIG_TYPE, MANIFEST_TYPE
from fleetwide.store import registry_pulls
from fleetwide.store.session import Store
from tests.bare_api import bare_api
from tests.registry_index import NOW, descriptor, image, index, push, upload

MARKUP = '<script>alert("x")</script>'
A = image("a")


@pytest.fixture
def http(tmp_path: Path) -> Iterator[TestClient]:
    with bare_api(tmp_path) as client:
        store = Store.open(f"sqlite:///{tmp_path}/fleetwide.db")
        upload(store, "apps/x", "config", "a")
        push(store, "apps/x", A, tags=["1.0"])
        push(store, "apps/x", index(A), tags=["all"])
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(CONFIG_TYPE, "config"),
            "layers": [],
            "annotations": {MARKUP: f"{MARKUP}' onload='x"},
        }
        hostile = parse_manifest(json.dumps(document).encode(), MANIFEST_TYPE)
        push(store, "apps/x", hostile, tags=["hostile"], now=NOW)
        with store.write() as session:
            registry_pulls.note(session, {(1, A.digest, MARKUP): 7}, NOW)
        store.engine.dispose()
        yield client


def page(http: TestClient, path: str, **query: str) -> str:
    response = http.get(f"/registry{path}", params=query)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    return response.text


def test_from_the_list_to_the_image_by_links(http: TestClient) -> None:
    assert 'href="/registry/repository?name=apps%2Fx"' in page(http, "")
    tags = page(http, "/repository", name="apps/x")
    assert "/registry/image?name=apps%2Fx&amp;reference=1.0" in tags
    shown = page(http, "/image", name="apps/x", reference="1.0")
    assert A.digest in shown
    assert "History of the tag" in shown
    assert "Pulled by" in shown
    assert MARKUP not in shown
    assert A.digest[:19] in page(http, "/image", name="apps/x", reference="all")
    assert "Images of this index" in page(http, "/image", name="apps/x", reference="all")
    assert "History of the tag" not in page(http, "/image", name="apps/x", reference=A.digest)


def test_pages_go_on(http: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.routers.registry_pages.PER_PAGE", 2)
    first = page(http, "/repository", name="apps/x")
    assert "cursor=all" in first
    assert "hostile" in page(http, "/repository", name="apps/x", cursor="all")


def test_usage_and_search(http: TestClient) -> None:
    assert "<td>apps</td>" in page(http, "/usage")
    assert "<td>tests</td>" in page(http, "/usage", by="owner")
    assert "apps%2Fx" in page(http, "", q="x")
    assert "Nothing found" in page(http, "", q="zzz")


def test_no_text_of_an_image_or_a_request_becomes_markup(http: TestClient) -> None:
    shown = page(http, "/image", name="apps/x", reference="hostile")
    searched = page(http, "", q=MARKUP)
    for document in (shown, searched):
        assert "<script" not in document
        assert "&lt;script&gt;" in document
    assert "onload=&#x27;x" in shown


def test_what_is_not_there_is_told(http: TestClient) -> None:
    assert http.get("/registry/repository", params={"name": "no/such"}).status_code == 404
    assert http.get("/registry/repository", params={"name": MARKUP}).status_code == 422
    assert http.get("/registry/repository").status_code == 422
