"""Consoles as a machine under the boot test writes them."""

import base64
import hashlib

TOKEN = "0123456789abcdef"


def frame(key: str, value: str, token: str = TOKEN) -> str:
    payload = base64.b64encode(value.encode()).decode()
    told = hashlib.sha256(f"{key}:{payload}".encode()).hexdigest()[:12]
    return f"@@fleetwide:{token}:{key}:{payload}:{told}@@"


def report(facts: dict[str, str]) -> str:
    frames = [frame(key, value) for key, value in facts.items()]
    return "\r\n".join([*frames, frame("end", str(len(facts)))]) + "\r\n"
