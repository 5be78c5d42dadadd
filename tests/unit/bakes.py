"""Bakes to test with."""

from typing import Any

from hypothesis import strategies as st

from fleetwide.bakery.keys import content_document, key_of, repository_of, request_document
from fleetwide.models.bakery import BakeSpec
from fleetwide.models.bakes import BaseImage, ResolvedBake
from fleetwide.models.base import Layer

BASE = BaseImage(
    name="baseos",
    version="20261122.1",
    repository="baseos/baseos",
    digest="sha256:" + "b" * 64,
    layer=Layer(digest="sha256:" + "c" * 64, diff_id="sha256:" + "d" * 64, size=100),
    distribution="debian",
    suite="bookworm",
    architecture="amd64",
    created_epoch=1_795_305_600,
)

CHARACTERS = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
"""Of which a line of text may consist."""


def bake_spec(**changes: Any) -> BakeSpec:
    given = {
        "name": "hello",
        "version": "1.0.0",
        "artifacts": [{"type": "tarball", "sha256": "a" * 64, "filename": "hello.tar.gz"}],
        "base": "baseos:stable",
        "command": ["/opt/hello/run"],
        **({"recipe": "service:1"} if changes.get("parameters") else {}),
    }
    return BakeSpec.model_validate({**given, **changes})


def resolved(base: BaseImage = BASE, **changes: Any) -> ResolvedBake:
    spec = bake_spec(**changes)
    request = request_document(spec, base)
    return ResolvedBake(
        spec=spec,
        base=base,
        request_key=key_of(request),
        bake_key=key_of(request),
        content_key=key_of(content_document(request, base)),
        repository=repository_of(spec.name),
    )
