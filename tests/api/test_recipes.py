"""Recipes over HTTP; they need the database and nothing else of the platform."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.examples import RECIPE
from fleetwide.client import Client
from fleetwide.models.recipes import RecipeSpec
from tests.bare_api import bare_api


@pytest.fixture
def api(tmp_path: Path) -> Iterator[TestClient]:
    with bare_api(tmp_path) as client:
        yield client


def text(name: str = "service", **changes: Any) -> dict[str, Any]:
    return {"name": name, "parameters": {"port": {"default": "1"}}, **changes}


def test_a_version_is_made_once(api: TestClient) -> None:
    made = api.put("/v1/recipes/service", json=text())
    assert made.status_code == 201, made.text
    assert made.json()["version"] == 1
    assert made.json()["links"] == {
        "self": "/v1/recipes/service:1",
        "versions": "/v1/recipes?name=service",
    }
    again = api.put("/v1/recipes/service", json=text(packages=[]))
    assert (again.status_code, again.json()) == (200, made.json())
    assert api.put("/v1/recipes/service", json=text(init=True)).json()["version"] == 2


def test_a_recipe_is_read_by_name_and_by_version(api: TestClient) -> None:
    api.put("/v1/recipes/service", json=text())
    api.put("/v1/recipes/service", json=text(init=True))
    assert api.get("/v1/recipes/service").json()["version"] == 2
    first = api.get("/v1/recipes/service:1").json()
    assert (first["version"], first["spec"]["init"]) == (1, False)
    assert api.get(first["links"]["self"]).json() == first
    missing = api.get("/v1/recipes/servise")
    assert (missing.status_code, missing.json()["code"]) == (404, "NotFound")
    assert "did you mean service?" in missing.json()["detail"]
    assert api.get("/v1/recipes/service:9").status_code == 404
    for reference in ("service:0", "service:x", "A", "service:1:2"):
        assert api.get(f"/v1/recipes/{reference}").status_code == 422


def test_listings_have_pages(api: TestClient) -> None:
    for name in ("a", "b", "c"):
        api.put(f"/v1/recipes/{name}", json=text(name))
    api.put("/v1/recipes/b", json=text("b", init=True))

    def page(**query: str | int) -> tuple[list[str], str | None]:
        body = api.get("/v1/recipes", params=query).json()
        shown = [f"{one['spec']['name']}:{one['version']}" for one in body["items"]]
        return shown, body["next"]

    assert page(limit=2) == (["a:1", "b:2"], "b")
    assert page(limit=2, cursor="b") == (["c:1"], None)
    assert page(name="b", limit=1) == (["b:2"], "2")
    assert page(name="b", limit=1, cursor="2") == (["b:1"], "1")
    assert page(name="b", cursor="1") == ([], None)
    assert page(name="nobody") == ([], None)
    assert api.get("/v1/recipes", params={"name": "b", "cursor": "x"}).status_code == 422


def test_a_wrong_recipe_is_refused_with_every_fault(api: TestClient) -> None:
    wrong = text(command=["${prot}"], env={"A": "${HOME}"})
    answer = api.put("/v1/recipes/service", json=wrong)
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["fields"]] == ["command[0]", "env.A"]
    other = api.put("/v1/recipes/service", json=text("worker"))
    assert other.json()["fields"][0]["message"] == "must be service, as in the path"
    unknown = api.put("/v1/recipes/service", json=text(entrypont=[]))
    assert unknown.json()["fields"][0]["message"] == "unknown key; did you mean entrypoint?"
    assert api.get("/v1/recipes").json()["items"] == []


def test_the_example_of_the_documentation_is_taken(api: TestClient) -> None:
    for example in RECIPE.values():
        value: Any = example.get("value")
        assert api.put(f"/v1/recipes/{value['name']}", json=value).status_code == 201


def test_the_client_has_a_method_for_each_route(api: TestClient) -> None:
    client = Client("http://testserver", http=api)
    made = client.recipes.put(RecipeSpec.model_validate(text()))
    assert client.recipes.get("service") == made == client.recipes.get("service:1")
    assert client.recipes.list().items == [made] == client.recipes.list(name="service").items
