"""Who means ill: forged upload URLs, names that lead elsewhere, others' repositories."""

import base64
import http.client
import json
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.conformance.client import Registry, is_error, query_of, with_query
from tests.oci_objects import MANIFEST, digest_of, image
from tests.registry_stack import PASSWORD, Stack, StackOptions, registry_stack

pytestmark = pytest.mark.integration

NAME = "apps/victim"
ACCEPT = {"Accept": MANIFEST}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with registry_stack(tmp_path_factory.mktemp("hostile"), StackOptions(auth="token")) as made:
        yield made


def _token(stack: Stack, account: str, *scopes: str) -> str:
    answer = httpx2.get(
        f"{stack.url}/auth/token",
        params={"service": "fleetwide-registry", "scope": scopes},
        auth=(account, PASSWORD),
        trust_env=False,
    )
    token: str = answer.json()["token"]
    return token


def _client(stack: Stack, account: str, *scopes: str) -> Registry:
    headers = {"Authorization": f"Bearer {_token(stack, account, *scopes)}"}
    return Registry(stack.url, httpx2.Client(headers=headers, trust_env=False, timeout=30))


@pytest.fixture(scope="module")
def owner(stack: Stack) -> Iterator[Registry]:
    """Who may do anything with both repositories."""
    made = _client(
        stack, "admin", f"repository:{NAME}:pull,push,delete", "repository:apps/other:pull,push"
    )
    with made.http:
        yield made


@pytest.fixture(scope="module")
def reader(stack: Stack) -> Iterator[Registry]:
    """Who may read, and asked for more."""
    made = _client(stack, "reader", f"repository:{NAME}:pull,push,delete")
    with made.http:
        yield made


@pytest.fixture(scope="module")
def stranger(stack: Stack) -> Iterator[Registry]:
    made = Registry(stack.url)
    with made.http:
        yield made


def _state(place: str) -> str:
    return query_of(place)["_state"][0]


def test_an_upload_url_alone_opens_nothing(
    owner: Registry, reader: Registry, stranger: Registry
) -> None:
    place = owner.start(NAME)
    for other in (reader, stranger):
        for method in ("PATCH", "PUT", "GET", "DELETE"):
            answer = other.http.request(method, place)
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert owner.http.get(place).status_code == 204


def test_an_upload_url_with_another_repositorys_name_is_unknown(owner: Registry) -> None:
    place = owner.start(NAME).replace(NAME, "apps/other")
    assert is_error(owner.http.patch(place, content=b"x"), 404)
    assert is_error(owner.finish(place, digest_of(b"x"), b"x"), 404)


def test_a_state_that_was_altered_is_unknown(owner: Registry) -> None:
    place = owner.start(NAME)
    raw = base64.urlsafe_b64decode(_state(place))
    document = json.loads(raw[32:])
    document["Offset"] = 0
    document["Name"] = "apps/other"
    forged = base64.urlsafe_b64encode(raw[:32] + json.dumps(document).encode()).decode()
    for state in (forged, "", "x" * 50, _state(place)[:-8], "A" * 5000):
        url = with_query(place.partition("?")[0], _state=state)
        other = url.replace(NAME, "apps/other")
        for target in (url, other):
            assert is_error(owner.http.patch(target, content=b"x"), 404)
    assert owner.http.get(place).status_code == 204


def test_a_mount_takes_nothing_that_one_may_not_read(stack: Stack, owner: Registry) -> None:
    data = os.urandom(500)
    secret = owner.push_blob(NAME, data)
    thief = _client(stack, "admin", "repository:apps/thief:pull,push")
    with thief.http:
        path = f"apps/thief/blobs/uploads/?mount={secret}&from={NAME}"
        assert thief.call("POST", path).status_code == 202
        assert is_error(thief.call("GET", f"apps/thief/blobs/{secret}"), 404, "BLOB_UNKNOWN")
        assert thief.call("GET", f"{NAME}/blobs/{secret}").status_code == 401


@pytest.mark.parametrize("method", ["POST", "post", "MOVE"])
def test_an_upload_under_way_mounts_nothing(stack: Stack, owner: Registry, method: str) -> None:
    secret = owner.push_blob(NAME, os.urandom(500))
    thief = _client(stack, "admin", "repository:apps/thief:pull,push")
    with thief.http:
        place = with_query(thief.start("apps/thief"), mount=secret, **{"from": NAME})
        assert thief.http.request(method, place).status_code in (400, 404, 405)
        assert is_error(thief.call("GET", f"apps/thief/blobs/{secret}"), 404, "BLOB_UNKNOWN")


def test_the_digest_of_the_address_counts(owner: Registry) -> None:
    data = f"digest=sha256:{os.urandom(32).hex()}".encode()
    place = with_query(owner.start(NAME), digest=digest_of(data))
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert owner.http.put(place, content=data, headers=form).status_code == 201
    assert owner.call("GET", f"{NAME}/blobs/{digest_of(data)}").content == data


def test_a_manifest_of_anothers_blobs_is_refused(stack: Stack, owner: Registry) -> None:
    made = image()
    owner.push(NAME, made, ["secret"])
    thief = _client(stack, "admin", "repository:apps/thief:pull,push")
    with thief.http:
        assert is_error(thief.put("apps/thief", "v1", made), 400, "MANIFEST_BLOB_UNKNOWN")
        assert thief.get("apps/thief", made.digest).status_code == 404


def _raw(stack: Stack, method: str, path: str, token: str) -> tuple[int, bytes]:
    """A request whose path no client has tidied up."""
    connection = http.client.HTTPConnection(urlsplit(stack.url).netloc, timeout=30)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        connection.putheader("Authorization", f"Bearer {token}")
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


TRICKS = [
    "/v2/apps/other/../victim/manifests/latest",
    "/v2/apps/other/%2e%2e/victim/manifests/latest",
    "/v2/apps/other%2f..%2fvictim/manifests/latest",
    "/v2/apps%2fvictim/manifests/latest",
    "/v2//apps/victim/manifests/latest",
    "/v2/apps//victim/manifests/latest",
    "/v2/apps/victim%00/manifests/latest",
    "/v2/apps/victim/manifests/../manifests/latest",
    "/v2/./apps/victim/manifests/latest",
    "/v2/apps/VICTIM/manifests/latest",
    "/v2/" + "a/" * 200 + "victim/manifests/latest",
    "/v2/apps/victim/manifests/latest%00",
    "/v2/apps/victim/blobs/sha256:../../../../etc/passwd",
    "/v2/apps/victim/blobs/sha256:%2e%2e%2f%2e%2e",
]


@pytest.mark.parametrize("path", TRICKS, ids=range(len(TRICKS)))
def test_a_path_that_plays_tricks_leads_nowhere(stack: Stack, owner: Registry, path: str) -> None:
    made = image()
    owner.push(NAME, made, ["latest"])
    token = _token(stack, "admin", "repository:apps/other:pull,push", "repository:apps:pull")
    status, body = _raw(stack, "GET", path, token)
    assert status in {400, 401, 404}
    assert made.data not in body
    assert json.loads(body)["errors"]


@pytest.mark.parametrize(
    "path",
    [
        "/_auth/upload",
        "/_auth%2fupload",
        "/_blobs/sha256/",
        "/_blobs/../_blobs/sha256/{digits}",
        "/v2/../_blobs/{digits}",
        "//_blobs/{digits}",
        "/%5fblobs/{digits}",
    ],
)
def test_what_nginx_and_gateway_say_to_each_other_is_closed(
    stack: Stack, owner: Registry, path: str
) -> None:
    data = os.urandom(50)
    digits = owner.push_blob(NAME, data).removeprefix("sha256:")
    place = path.replace("{digits}", f"sha256/{digits[:2]}/{digits}/data")
    status, body = _raw(stack, "GET", place, _token(stack, "admin"))
    assert status in {400, 401, 404}
    assert data not in body


@pytest.mark.parametrize("name", ["apps/other/../victim", "apps/other/%2e%2e/victim"])
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_a_name_that_leads_elsewhere_reaches_no_upload(
    stack: Stack, owner: Registry, name: str, method: str
) -> None:
    place = owner.start(NAME)
    token = _token(stack, "admin", "repository:apps/other:pull,push")
    parts = urlsplit(place.replace(NAME, name))
    status, _ = _raw(stack, method, f"{parts.path}?{parts.query}", token)
    assert status in {400, 401, 404}
    assert owner.http.get(place).status_code == 204
