"""The file of upstreams that nginx includes. Pure: text to and from names and places.

Nothing gets into the file that is not the name of an upstream, an IP address or a port number, each
checked here again, whatever checked it before.
"""

import re
from collections.abc import Iterable, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from fleetwide.errors import InvalidInput
from fleetwide.models.resources import LAST_PORT
from fleetwide.models.targets import UPSTREAM_PATTERN

Place = tuple[str, int]
"""An IP address and a port."""

# Between a host's end and the moment the platform sees it, nginx itself leaves a copy alone after a
# few failed tries. Not after one, nginx's default: one slow answer of each copy would take all out.
_PATIENCE = "max_fails=3 fail_timeout=5s"
_HEAD = "# Written by Fleetwide's scheduler, anew whenever copies of services come and go.\n"
_NAME = re.compile(UPSTREAM_PATTERN)
_OPENS = re.compile(r"upstream ([a-z][a-z0-9_-]{0,62}) \{")
# nginx refuses an upstream without servers; this one answers nobody, so that clients get a 502.
_NOBODY = "server 127.0.0.1:1 down;  # no copy is registered"


def server_of(address: str, port: int) -> str:
    """``address:port`` as nginx writes it.

    Raises:
        InvalidInput: the address is no IP address, or the port no port.
    """
    if not 1 <= port <= LAST_PORT:
        raise InvalidInput.for_field("port", f"must be 1 to {LAST_PORT}", given=port)
    try:
        return f"{IPv4Address(address)}:{port}"
    except AddressValueError:
        pass
    try:
        six = IPv6Address(address)
    except AddressValueError as error:
        raise InvalidInput.for_field("address", "must be an IP address", given=address) from error
    if six.scope_id is not None:
        raise InvalidInput.for_field("address", "must not name an interface", given=address)
    return f"[{six}]:{port}"


def upstream_file(upstreams: Mapping[str, Iterable[Place]]) -> str:
    """The whole file; the same upstreams make the same file.

    Raises:
        InvalidInput: a name or a place could not stand in nginx's file.
    """
    return _HEAD + "".join(_upstream(name, upstreams[name]) for name in sorted(upstreams))


def _upstream(name: str, places: Iterable[Place]) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidInput.for_field("nginx", "must be the name of an upstream", given=name)
    servers = sorted({f"server {server_of(*place)} {_PATIENCE};" for place in places}) or [_NOBODY]
    return "\n".join([f"upstream {name} {{", *(f"    {one}" for one in servers), "}\n"])


def names_in(text: str) -> set[str]:
    """The upstreams of a file that ``upstream_file`` wrote."""
    return {found.group(1) for line in text.splitlines() if (found := _OPENS.fullmatch(line))}
