"""Requests about OS releases that several tests make."""

from typing import Any

from starlette.testclient import TestClient

RELEASES = "/v1/os/releases"


def build(http: TestClient, name: str, **spec: Any) -> dict[str, Any]:
    """Build a release; the answer is the operation once it is a candidate or over."""
    body = {"name": name, "suite": "bookworm", **spec}
    response = http.post("/v1/os/builds", params={"wait": 30}, json=body)
    assert response.status_code in (200, 202), response.text
    operation: dict[str, Any] = response.json()
    return operation


def post(http: TestClient, path: str, json: Any = None) -> Any:
    response = http.post(path, json=json)
    assert response.status_code in (200, 202), response.text
    return response.json()


def result_of(http: TestClient, path: str, json: Any = None) -> Any:
    """The result of an operation that is waited for."""
    response = http.post(path, params={"wait": 30}, json=json)
    assert response.status_code == 200, response.text
    return response.json()["result"]


def get(http: TestClient, path: str, **query: Any) -> Any:
    response = http.get(path, params=query)
    assert response.status_code == 200, response.text
    return response.json()


def problem(response: Any, status: int) -> Any:
    """The problem that a response tells."""
    assert response.status_code == status, response.text
    return response.json()
