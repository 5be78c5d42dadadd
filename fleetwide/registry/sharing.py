"""How hosts of one pre-heat know each other: by a key that only who takes part is told; pure.

The key is made from the one that signs the registry's tokens, so nothing of it is kept anywhere.
The registry tells it to the hosts of the pre-heat alone; no workflow and no history has it.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fleetwide.registry.token_keys import KeyRing

KEY_SECONDS = 600
"""So long a host believes that it still takes part; then it asks the registry again."""
TOKEN_SECONDS = 300
"""How long a token serves; the clocks of two hosts may differ by as much."""
_PURPOSE = b"fleetwide: blobs between the hosts of a pre-heat"
_TOKEN = re.compile(r"([0-9]{1,12})\.([0-9a-f]{64})")


@dataclass(frozen=True)
class Together:
    """What hosts do together: a pre-heat (by its workflow's id) of one image."""

    preheat: str
    repository: str
    digest: str

    @property
    def mark(self) -> str:
        """A name for it that fits into a header."""
        text = f"{self.preheat}\n{self.repository}\n{self.digest}"
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class ShareKey:
    """What the hosts of one pre-heat know, which never shows."""

    secret: bytes = field(repr=False)
    until: float
    """In monotonic seconds; then the registry has to be asked again."""


def share_secret(ring: KeyRing, together: Together, until: datetime) -> bytes:
    """The key of a pre-heat whose rights end at ``until``: another grant has another key."""
    signing = ring.signing.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    master = HKDF(SHA256(), 32, salt=None, info=_PURPOSE).derive(signing)
    text = f"{together.mark} {until.astimezone(UTC).isoformat()}"
    return hmac.new(master, text.encode(), hashlib.sha256).digest()


def peer_token(secret: bytes, digest: str, now: float) -> str:
    """What a host shows a peer to get a blob of their pre-heat's image. ``now`` in seconds."""
    until = f"{int(now) + TOKEN_SECONDS}"
    return f"{until}.{_sign(secret, 'fetch', digest, until)}"


def is_peer_token(secret: bytes, digest: str, token: str, now: float) -> bool:
    """Whether ``token`` was made for this blob by who knows the key, and not long ago."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        return False
    right = hmac.compare_digest(match[2], _sign(secret, "fetch", digest, match[1]))
    return right and now <= int(match[1]) <= now + 2 * TOKEN_SECONDS


def peer_proof(secret: bytes, digest: str, token: str) -> str:
    """What who serves a blob answers to a token, to show that it takes part too."""
    return _sign(secret, "serve", digest, token)


def _sign(secret: bytes, verb: str, digest: str, text: str) -> str:
    return hmac.new(secret, f"{verb} {digest} {text}".encode(), hashlib.sha256).hexdigest()
