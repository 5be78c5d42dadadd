import base64
import json
import logging
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from fleetwide.errors import ArtifactRejected, InvalidInput, PlatformError
from fleetwide.providers.signing import (
    SigningKey,
    VerifyingKey,
    load_or_create_key,
    load_public_key,
    sign,
    verify,
)

TYPE = "application/vnd.in-toto+json"
PAYLOAD = b'{"_type":"https://in-toto.io/Statement/v1"}'
# The first test vector of RFC 8032, 7.1: a key that other programs can be asked about.
KEY = SigningKey(
    Ed25519PrivateKey.from_private_bytes(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
)
OTHER = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))


def test_what_was_signed_comes_back() -> None:
    envelope = sign(KEY, PAYLOAD, TYPE)
    assert verify(envelope, KEY.verifying, TYPE) == PAYLOAD
    assert sign(KEY, PAYLOAD, TYPE) == envelope
    assert json.loads(envelope)["signatures"][0]["keyid"] == KEY.verifying.keyid


def test_the_signature_is_over_the_dsse_encoding() -> None:
    signature = base64.b64decode(json.loads(sign(KEY, b"hello world", "t"))["signatures"][0]["sig"])
    KEY.private.public_key().verify(signature, b"DSSEv1 1 t 11 hello world")


def changed(**values: Any) -> bytes:
    return json.dumps({**json.loads(sign(KEY, PAYLOAD, TYPE)), **values}).encode()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("envelope", "words"),
    [
        (changed(payload=encoded(b"something else")), "one of them was changed"),
        (changed(signatures=[{"sig": encoded(bytes(64))}]), "one of them was changed"),
        (changed(signatures=[{"sig": ""}]), "one of them was changed"),
        (changed(payloadType="text/plain"), "holds 'text/plain', not"),
        (changed(signatures=[]), "signed by nobody"),
        (changed(payload="a b"), "no DSSE envelope"),
        (changed(payload=None), "no DSSE envelope"),
        (changed(signatures=None), "no DSSE envelope"),
        (changed(signatures=["x"]), "no DSSE envelope"),
        (sign(OTHER, PAYLOAD, TYPE), f"not by {KEY.verifying.keyid[:16]}"),
        (b"", "no DSSE envelope"),
        (b"[" * 100_000, "no DSSE envelope"),
    ],
)
def test_anything_else_is_refused(envelope: bytes, words: str) -> None:
    with pytest.raises(ArtifactRejected, match=words):
        verify(envelope, KEY.verifying, TYPE)


def test_an_envelope_of_another_writer_may_use_the_other_base64_and_no_keyid() -> None:
    document = json.loads(sign(KEY, b"\xff\xfe\xfb?>", TYPE))
    signature = document["signatures"][0]["sig"].translate(str.maketrans("+/", "-_"))
    payload = document["payload"].translate(str.maketrans("+/", "-_"))
    assert payload != document["payload"]
    given = {**document, "payload": payload, "signatures": [{"sig": signature}]}
    assert verify(json.dumps(given).encode(), KEY.verifying, TYPE) == b"\xff\xfe\xfb?>"


def test_one_good_signature_of_ours_among_others_is_enough() -> None:
    theirs = json.loads(sign(OTHER, PAYLOAD, TYPE))["signatures"]
    ours = json.loads(sign(KEY, PAYLOAD, TYPE))["signatures"]
    assert verify(changed(signatures=theirs + ours), KEY.verifying, TYPE) == PAYLOAD


def test_a_new_key_is_ours_alone_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing.pem"
    first, again = load_or_create_key(path), load_or_create_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first.verifying.keyid == again.verifying.keyid
    assert [entry.name for entry in path.parent.iterdir()] == ["signing.pem"]


def test_all_who_create_the_key_at_once_get_the_same(tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: load_or_create_key(path), range(16)))
    assert len({key.verifying.keyid for key in keys}) == 1


def test_the_key_shows_itself_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "signing.pem"
    with caplog.at_level(logging.DEBUG):
        key = load_or_create_key(path)
        envelope = sign(key, PAYLOAD, TYPE)
    body = "".join(path.read_text().splitlines()[1:-1])
    secret = key.private.private_bytes_raw()
    shown = f"{key!r}{caplog.text}{''.join(capfd.readouterr())}".encode() + envelope
    assert body.encode() not in shown
    assert secret not in shown
    assert secret.hex().encode() not in shown


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    load_or_create_key(path)
    path.chmod(0o640)
    with pytest.raises(InvalidInput, match="may be read by others") as caught:
        load_or_create_key(path)
    assert caught.value.hint == f"chmod 600 {path}"


def pem(key: Any, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    data: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return data


@pytest.mark.parametrize(
    "content",
    [b"", b"no key", pem(generate_private_key(SECP256R1())), pem(KEY.private, b"secret")],
    ids=["empty", "text", "other kind", "encrypted"],
)
def test_a_file_without_an_ed25519_key_is_refused_and_left_alone(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "signing.pem"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="no unencrypted Ed25519 private key"):
        load_or_create_key(path)
    assert path.read_bytes() == content


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PlatformError, match="can be neither read nor made"):
        load_or_create_key(tmp_path / "file" / "signing.pem")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_the_public_key_travels_as_pem() -> None:
    assert load_public_key(KEY.verifying.pem()) == KEY.verifying
    assert isinstance(load_public_key(KEY.verifying.pem()), VerifyingKey)
    other = generate_private_key(SECP256R1()).public_key()
    for wrong in (b"", other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)):
        with pytest.raises(InvalidInput, match="public_key"):
            load_public_key(wrong)
