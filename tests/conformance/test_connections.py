"""A connection stays fit for the next request, also when a body was refused unread, or its end is
announced: clients do not send a push twice. Distribution alone breaks it off in the middle.
"""

import http.client
from urllib.parse import urlsplit

import pytest

from tests.conformance.client import Registry
from tests.oci_objects import MANIFEST

pytestmark = pytest.mark.integration

MIB = 1024**2


@pytest.mark.parametrize("registry", ["nginx", "redirect"], indirect=True)
@pytest.mark.parametrize(
    ("method", "path", "size"),
    [
        ("PUT", "manifests/v1", 6 * MIB),
        ("PUT", "manifests/v1", 20 * MIB),
        ("PUT", "nothing/v1", 3 * MIB),
        ("POST", "blobs/uploads/", 6 * MIB),
        ("POST", "blobs/uploads/?digest=sha256:00", 6 * MIB),
        ("PATCH", "blobs/uploads/of-nobody", 6 * MIB),
    ],
    ids=["manifest", "huge-manifest", "no-path", "post", "bad-digest", "no-upload"],
)
def test_the_next_request_of_a_connection_is_answered(
    registry: Registry, name: str, method: str, path: str, size: int
) -> None:
    connection = http.client.HTTPConnection(urlsplit(registry.url).netloc, timeout=30)
    connection.connect()
    connection.auto_open = 0  # as a client that sends nothing twice
    try:
        connection.request(method, f"/v2/{name}/{path}", bytes(size), {"Content-Type": MANIFEST})
        connection.getresponse().read()
        if connection.sock is not None:  # the answer did not say that it ends here
            connection.request("GET", "/v2/")
            assert connection.getresponse().status == 200
    finally:
        connection.close()
