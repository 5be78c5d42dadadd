"""Who places work, through the API."""

from starlette.testclient import TestClient

from tests.api.test_tasks import run


def test_the_holder_of_the_lease_is_told(http: TestClient) -> None:
    assert run(http, "exit", "0")["status"] == "completed"
    found = http.get("/v1/scheduler").json()
    assert found["holder"]
    assert found["token"] >= 1
    assert found["since"] < found["expires_at"]
    assert found["pending"] is False
