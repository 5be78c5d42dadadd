"""The front door: nginx's configuration, which keeps the bytes of blobs out of Python. Pure.

What nginx does by itself, and what it asks the gateway:

- ``PATCH``, ``PUT``, ``GET`` and ``DELETE`` of an upload go to Distribution, once the gateway has
  said yes to a sub-request (``UPLOAD_CHECK``). The path that is asked about is the path that is
  sent: both are put together from the same parts, so that no encoding can tell them apart.
- The gateway answers a read of a blob with ``X-Accel-Redirect`` below ``BLOBS``, and nginx sends
  the file, whole or in part.
- Everything else goes to the gateway.

The sub-request is a ``GET`` with the headers of the upload and ``ORIGINAL_METHOD``,
``ORIGINAL_URI`` and ``ORIGINAL_LENGTH``. The gateway answers 2xx for yes. For no it answers 403
with what the client shall get in ``REFUSAL_STATUS`` (one of ``REFUSALS``), ``REFUSAL_BODY`` (the
error document on one line) and, where they apply, ``WWW-Authenticate``, ``Retry-After``, ``Range``
and ``Location``: nginx itself passes on neither the status nor the body of such an answer.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetwide.errors import InvalidInput

UPLOAD_CHECK = "/_auth/upload"
BLOBS = "/_blobs/"
"""Followed by ``<algorithm>/<first two digits>/<digits>/data``, as Distribution lays them out."""

ORIGINAL_METHOD = "X-Original-Method"
ORIGINAL_URI = "X-Original-URI"
ORIGINAL_LENGTH = "X-Original-Length"
REFUSAL_STATUS = "X-Refusal-Status"
REFUSAL_BODY = "X-Refusal-Body"
REFUSALS = (400, 401, 403, 404, 405, 409, 416, 429, 503)

FAULT = "/_fault"
"""Where nginx finds its own error documents; no named location, for a request that could not even
be read has no path, and may not be led to one."""
RETRY_SECONDS = 5
"""What clients are told to wait when a part behind nginx does not answer."""

UPSTREAM_IDLE_SECONDS = 60
"""How long nginx keeps a connection to a server behind it that nobody uses. The servers keep theirs
longer: on one that a server is closing a push would be lost, since only reads could be sent twice.
"""
CONNECTIONS = 32_768
"""Of one worker of nginx: of ten thousand clients each takes one here and one behind."""

_ADDRESS = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9a-f:]+\]):[0-9]{1,5}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")

# What clients are told when nginx itself cannot answer, by the status that they get.
_FAULTS = {
    400: ("UNSUPPORTED", "the request is malformed"),
    404: ("BLOB_UNKNOWN", "the registry does not have this"),
    405: ("UNSUPPORTED", "the registry does not know this method"),
    413: ("SIZE_INVALID", "the body is larger than the registry takes"),
    414: ("UNSUPPORTED", "the address is longer than the registry takes"),
    416: ("BLOB_UNKNOWN", "the blob does not have this range of bytes"),
    503: ("UNAVAILABLE", "a part of the registry does not answer; try again"),
}


@dataclass(frozen=True)
class NginxPlan:
    """What differs from one front door to the next; addresses are ``host:port``, paths absolute."""

    listen: str
    gateway: str
    distribution: Sequence[str]
    """One or more Distributions that share their storage and their HTTP secret."""
    folder: Path
    """For nginx's own files: its process id and bodies that it has to put by."""
    storage: Path | None = None
    """Root folder of Distribution's file system storage; None when blobs lie in S3."""
    user: str | None = None
    """Whom nginx reads the blobs as; only root may say so."""
    certificate: Path | None = None
    certificate_key: Path | None = None
    """Both for HTTPS, none for HTTP."""
    workers: int = 1
    max_body: int = 16 * 1024**2
    """Bytes of a request's body that is no upload; above what the gateway takes for a manifest."""


def nginx_config(plan: NginxPlan) -> str:
    """The configuration file for ``plan``.

    Raises:
        InvalidInput: an address, a path or the user could not stand in nginx's file.
    """
    _check(plan)
    sections = [_main(plan), *_http(plan), "    server {", *_server(plan), "    }", "}"]
    return "\n".join(sections) + "\n"


def _check(plan: NginxPlan) -> None:
    for address in (plan.listen, plan.gateway, *plan.distribution):
        _must(_ADDRESS, address, "address", "must be host:port")
    if not plan.distribution:
        raise InvalidInput.for_field("distribution", "must be at least one address", given="")
    for path in (plan.folder, plan.storage, plan.certificate, plan.certificate_key):
        if path is not None:
            _check_path(str(path))
    if plan.user is not None:
        _must(_USER, plan.user, "user", "must be the name of a user of this machine")
    if (plan.certificate is None) != (plan.certificate_key is None):
        raise InvalidInput.for_field(
            "certificate", "must come together with its key", given=str(plan.certificate)
        )


def _must(pattern: re.Pattern[str], value: str, field: str, rule: str) -> None:
    if not pattern.fullmatch(value):
        raise InvalidInput.for_field(field, rule, given=value)


def _check_path(text: str) -> None:
    # Between quotes nginx takes all else as it is; a dollar starts a variable even there.
    if not text.startswith("/") or not text.isprintable() or any(one in text for one in '"\\$'):
        rule = 'must be absolute, of characters that can be printed, without ", \\ and $'
        raise InvalidInput.for_field("path", rule, given=ascii(text))


def _main(plan: NginxPlan) -> str:
    user = f"user {plan.user};\n" if plan.user else ""
    return f"""\
# Written by: fleetwide registry nginx-config
daemon off;
{user}worker_processes {plan.workers};
pid "{plan.folder}/nginx.pid";
error_log stderr warn;
worker_rlimit_nofile {2 * CONNECTIONS};
events {{
    worker_connections {CONNECTIONS};
}}
http {{"""


def _http(plan: NginxPlan) -> list[str]:
    temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    lines = [f'{name}_temp_path "{plan.folder}/{name}";' for name in temporary]
    lines += [
        "access_log off;",
        "server_tokens off;",
        "types {}",
        "default_type application/octet-stream;",
        "sendfile on;",
        "tcp_nopush on;",
        "keepalive_requests 10000;",
        "large_client_header_buffers 4 32k;",
        # Behind another proxy that ends TLS, Location has to say https as well.
        "map $http_x_forwarded_proto $front_scheme {",
        "    default $scheme;",
        "    http http;",
        "    https https;",
        "}",
    ]
    length = "$content_length$http_transfer_encoding"
    lines += [f"map {length} $is_large {{ default 1; '' 0; '~^[0-9]{{1,6}}$' 0; }}"]
    for variable, column in (("$fault_code", 0), ("$fault_message", 1)):
        lines += [f"map $status {variable} {{", f'    default "{_FAULTS[503][column]}";']
        lines += [f'    {status} "{fault[column]}";' for status, fault in _FAULTS.items()]
        lines += ["}"]
    lines += [f"map $status $fault_wait {{ default ''; 503 {RETRY_SECONDS}; }}"]
    lines += _upstream("gateway", [plan.gateway], 64)
    lines += _upstream("distribution", plan.distribution, 32)
    return [f"    {line}" for line in lines]


def _upstream(name: str, addresses: Sequence[str], keepalive: int) -> list[str]:
    # A lone server is asked again at once: shutting it out for some seconds helps nobody.
    servers = [f"    server {address} max_fails=0;" for address in addresses]
    kept = [f"    keepalive {keepalive};", f"    keepalive_timeout {UPSTREAM_IDLE_SECONDS}s;"]
    return [f"upstream {name} {{", *servers, *kept, "}"]


def _server(plan: NginxPlan) -> list[str]:
    parts = [_listen(plan), _common(plan), _GATEWAY, _UPLOADS, _refused(), _FAULT]
    if plan.storage is not None:
        parts.append(_BLOBS.format(place=BLOBS, storage=plan.storage))
    lines = "\n".join(parts).splitlines()
    return [f"        {line}".rstrip() for line in lines]


def _listen(plan: NginxPlan) -> str:
    if plan.certificate is None:
        return f"listen {plan.listen} backlog=4096;"
    return f"""\
listen {plan.listen} ssl backlog=4096;
ssl_certificate "{plan.certificate}";
ssl_certificate_key "{plan.certificate_key}";
ssl_protocols TLSv1.2 TLSv1.3;
ssl_session_cache shared:tls:10m;"""


def _common(plan: NginxPlan) -> str:
    """What holds for every location that says nothing else."""
    return f"""\
client_max_body_size {plan.max_body};
client_body_timeout 300s;
proxy_http_version 1.1;
proxy_connect_timeout 5s;
proxy_send_timeout 300s;
proxy_read_timeout 900s;
proxy_next_upstream off;
proxy_buffer_size 32k;
proxy_buffers 8 32k;
proxy_busy_buffers_size 64k;
proxy_max_temp_file_size 0;
proxy_redirect off;
proxy_set_header Connection "";
proxy_set_header Host $http_host;
proxy_set_header X-Forwarded-Host "";
proxy_set_header X-Forwarded-Proto $front_scheme;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
error_page 400 404 405 413 414 416 {FAULT};
error_page 494 495 496 497 =400 {FAULT};
error_page 403 500 502 503 504 =503 {FAULT};
"""


# An answer that comes before nginx has read the body makes nginx close the connection without a
# word of it in the answer, and the client's next request is lost. So a body is either read before
# anything is asked, or the answer says that the connection ends.
_GATEWAY = f"""\
location / {{
    client_body_buffer_size 128k;
    proxy_pass http://gateway;
}}
location ~ ^/v2/.+/blobs/uploads/?$ {{
    client_max_body_size 0;
    error_page 418 = @whole;
    error_page 500 502 503 504 =503 {FAULT};
    if ($is_large) {{
        return 418;
    }}
    # The gateway takes a whole blob of up to six digits of bytes along with POST.
    client_body_buffer_size 1m;
    proxy_pass http://gateway;
}}
location @whole {{
    # A larger one the gateway declines unread.
    client_max_body_size 0;
    keepalive_timeout 0;
    proxy_request_buffering off;
    proxy_pass http://gateway;
}}
"""

_UPLOADS = f"""\
location ~ "^/v2/(?<repository>[a-z0-9][a-z0-9._/-]*)/blobs/uploads/(?<upload>[\\w.=-]+)$" {{
    set $target /v2/$repository/blobs/uploads/$upload$is_args$args;
    auth_request {UPLOAD_CHECK};
    auth_request_set $refusal_status $upstream_http_x_refusal_status;
    auth_request_set $refusal_body $upstream_http_x_refusal_body;
    auth_request_set $refusal_challenge $upstream_http_www_authenticate;
    auth_request_set $refusal_wait $upstream_http_retry_after;
    auth_request_set $refusal_range $upstream_http_range;
    auth_request_set $refusal_location $upstream_http_location;
    error_page 403 = @refused;
    error_page 500 502 503 504 =503 {FAULT};
    # A full disk or a lost store is no answer of the specification's; clients try 503 again.
    proxy_intercept_errors on;
    client_max_body_size 0;
    proxy_request_buffering off;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-Proto $front_scheme;
    proxy_set_header Authorization "";
    # Distribution would read the digest of a PUT from a form in its body rather than from the URL.
    proxy_set_header Content-Type application/octet-stream;
    proxy_pass http://distribution$target;
}}
location = {UPLOAD_CHECK} {{
    internal;
    # It is judged by the length of a body that is not passed on.
    client_max_body_size 0;
    proxy_pass_request_body off;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-Proto $front_scheme;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header Content-Length "";
    proxy_set_header {ORIGINAL_METHOD} $request_method;
    proxy_set_header {ORIGINAL_URI} $target;
    proxy_set_header {ORIGINAL_LENGTH} $content_length;
    proxy_pass http://gateway;
}}
"""

_FAULT = f"""\
location = {FAULT} {{
    internal;
    client_max_body_size 0;
    keepalive_timeout 0;
    default_type application/json;
    add_header Retry-After $fault_wait always;
    return 200 '{{"errors":[{{"code":"$fault_code","message":"$fault_message","detail":null}}]}}';
}}"""

_BLOBS = """\
location {place} {{
    internal;
    alias "{storage}/docker/registry/v2/blobs/";
    # Of the gateway's headers nginx itself keeps only a few.
    add_header Docker-Content-Digest $upstream_http_docker_content_digest always;
    add_header Docker-Distribution-Api-Version registry/2.0 always;
    add_header ETag $upstream_http_etag;
    etag off;
    if_modified_since off;
    max_ranges 1;
}}"""


def _refused() -> str:
    """The gateway's own words; ``return`` knows no variable status, so each has its line."""
    answers = "\n".join(
        f"    if ($refusal_status = {one}) {{ return {one} $refusal_body; }}" for one in REFUSALS
    )
    return f"""\
location @refused {{
    default_type application/json;
    add_header WWW-Authenticate $refusal_challenge always;
    add_header Retry-After $refusal_wait always;
    add_header Range $refusal_range always;
    add_header Location $refusal_location always;
    add_header Docker-Distribution-Api-Version registry/2.0 always;
{answers}
    return 503;
}}
"""
