"""The front door's configuration: what it says for which plan, and what may not get into it."""

from dataclasses import replace
from pathlib import Path

import pytest

from fleetwide.cli.registry_nginx import address_of, storage_folder
from fleetwide.cli.registry_server import KEEP_ALIVE_SECONDS
from fleetwide.errors import InvalidInput
from fleetwide.registry.nginx import (
    BLOBS,
    REFUSALS,
    UPLOAD_CHECK,
    UPSTREAM_IDLE_SECONDS,
    NginxPlan,
    nginx_config,
)
from fleetwide.settings import Settings

PLAN = NginxPlan(
    listen="127.0.0.1:5050",
    gateway="127.0.0.1:5051",
    distribution=("127.0.0.1:5052",),
    folder=Path("/var/lib/fleetwide/nginx"),
    storage=Path("/var/lib/fleetwide/registry"),
)


def test_everything_of_nginx_lies_in_its_folder() -> None:
    text = nginx_config(PLAN)
    folders = [line for line in text.splitlines() if "_temp_path" in line or "pid " in line]
    assert len(folders) == 6
    assert all(' "/var/lib/fleetwide/nginx/' in line for line in folders)


def test_blobs_are_read_from_files_only_where_they_are_files() -> None:
    assert f"location {BLOBS}" in nginx_config(PLAN)
    assert 'alias "/var/lib/fleetwide/registry/docker/registry/v2/blobs/";' in nginx_config(PLAN)
    assert BLOBS not in nginx_config(replace(PLAN, storage=None))


def test_uploads_are_asked_about_and_every_refusal_has_its_answer() -> None:
    text = nginx_config(PLAN)
    assert f"auth_request {UPLOAD_CHECK};" in text
    for status in REFUSALS:
        assert f"return {status} $refusal_body;" in text


def test_several_distributions_share_the_uploads() -> None:
    text = nginx_config(replace(PLAN, distribution=("10.0.0.1:5000", "10.0.0.2:5000")))
    assert "server 10.0.0.1:5000 " in text
    assert "server 10.0.0.2:5000 " in text


def test_https_where_there_is_a_certificate() -> None:
    secured = replace(PLAN, certificate=Path("/etc/c.pem"), certificate_key=Path("/etc/k.pem"))
    assert "listen 127.0.0.1:5050 ssl" in nginx_config(secured)
    assert "ssl" not in nginx_config(PLAN)


def test_nginx_gives_an_idle_connection_up_before_the_gateway_does() -> None:
    text = nginx_config(PLAN)
    assert text.count(f"keepalive_timeout {UPSTREAM_IDLE_SECONDS}s;") == 2
    assert UPSTREAM_IDLE_SECONDS < KEEP_ALIVE_SECONDS


def test_bodies_go_on_unread_only_where_an_answer_cannot_come_before_them() -> None:
    streaming = [
        block
        for block in nginx_config(PLAN).split("\n        location ")[1:]
        if "proxy_request_buffering off;" in block
    ]
    assert len(streaming) == 2
    assert streaming[0].startswith("@whole {")
    assert "keepalive_timeout 0;" in streaming[0]
    assert "auth_request" in streaming[1]


def test_braces_are_balanced() -> None:
    text = nginx_config(PLAN)
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize(
    "wrong",
    [
        {"listen": "5050"},
        {"listen": "127.0.0.1:80; include /etc/passwd"},
        {"gateway": "127.0.0.1:5051\n}"},
        {"distribution": ()},
        {"distribution": ("127.0.0.1:5052", "x y:1")},
        {"folder": Path("relative")},
        {"folder": Path('/var/a"; user root; "')},
        {"folder": Path("/var/a\nb")},
        {"folder": Path("/var/\udcff")},
        {"storage": Path("/var/$host")},
        {"storage": Path("/var/a\\")},
        {"user": "root; daemon on"},
        {"certificate": Path("/etc/c.pem")},
        {"certificate_key": Path("/etc/k.pem")},
    ],
)
def test_what_could_not_stand_in_the_file_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        nginx_config(replace(PLAN, **wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://registry.example.com", "registry.example.com:80"),
        ("https://registry.example.com/", "registry.example.com:443"),
        ("http://[::1]:5050", "[::1]:5050"),
    ],
)
def test_an_address_is_read_from_a_url(url: str, address: str) -> None:
    assert address_of(url, "registry_url") == address


@pytest.mark.parametrize("url", ["registry:5050", "http://registry/path", "http://"])
def test_a_url_that_is_none_of_a_host_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="registry_url"):
        address_of(url, "registry_url")


def test_blobs_in_s3_have_no_folder() -> None:
    assert storage_folder(Settings(registry_storage="s3://bucket/prefix")) is None
    assert storage_folder(Settings(registry_storage="file:/srv/blobs")) == Path("/srv/blobs")
