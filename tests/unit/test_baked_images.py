import json
from typing import Any

import pytest

from fleetwide.bakery.images import (
    MAX_LABEL_BYTES,
    MAX_LABELS_BYTES,
    BaseContent,
    bake_metadata,
    baked_image,
    base_content,
    check_labels,
    metadata_changed,
)
from fleetwide.errors import InvalidInput, PlatformError
from fleetwide.models.bakes import AppliedRecipe, BakedImage, ResolvedBake
from fleetwide.models.base import Layer
from fleetwide.registry.oci import LAYER_TYPE, HistoryStep
from tests.unit.bakes import BASE, resolved

LAYER = Layer(digest="sha256:" + "5" * 64, diff_id="sha256:" + "6" * 64, size=7)
SBOM = "sha256:" + "7" * 64
BUILD = {
    "job": "ci/hello",
    "number": "42",
    "commit": "c0ffee",
    "url": "https://ci.example/42",
    "host": "agent-1.example",
}
LOWER = Layer(digest="sha256:" + "8" * 64, diff_id="sha256:" + "9" * 64, size=40)
assert BASE.layer is not None
BELOW = BaseContent([LOWER, BASE.layer], [HistoryStep("lower"), HistoryStep("upper")])


def run_section(bake: ResolvedBake, env: dict[str, str] | None = None) -> dict[str, Any]:
    document = baked_image(bake, BELOW, LAYER, env or {}, {"a": "b"})
    section: dict[str, Any] = json.loads(document.config)["config"]
    return section


def imaged(bake: ResolvedBake, **changes: Any) -> BakedImage:
    """The image that the inventory has of a bake."""
    given = {
        "name": bake.spec.name,
        "version": bake.spec.version,
        "bake_key": bake.bake_key,
        "workflow_id": "bake/x",
        "repository": bake.repository,
        "digest": "sha256:" + "1" * 64,
        "base_name": bake.base.name,
        "base_version": bake.base.version,
        "base_digest": bake.base.digest,
        "size": 7,
        "metadata": bake_metadata(bake, SBOM),
        "build_seconds": 1,
        "created_at": "2026-11-22T00:00:00Z",
    }
    return BakedImage.model_validate({**given, **changes})


def test_the_standard_names_tell_what_it_is_and_what_it_lies_upon() -> None:
    metadata = bake_metadata(resolved(owner="team-a", build=BUILD), SBOM)
    standard = {
        name.removeprefix("org.opencontainers.image."): value
        for name, value in metadata.items()
        if name.startswith("org.opencontainers.image.")
    }
    assert standard == {
        "title": "hello",
        "version": "1.0.0",
        "created": "2026-11-22T00:00:00Z",
        "ref.name": "apps/hello:1.0.0",
        "revision": "c0ffee",
        "url": "https://ci.example/42",
        "vendor": "team-a",
        "authors": "team-a",
        "base.name": "baseos/baseos:20261122.1",
        "base.digest": BASE.digest,
    }


def test_the_platform_s_names_tell_where_it_came_from() -> None:
    bake = resolved(owner="team-a", build=BUILD, init=True, volumes=["/var/b", "/var/a b"])
    bake = bake.model_copy(update={"recipe": AppliedRecipe(reference="service:3")})
    metadata = bake_metadata(bake, SBOM)
    ours = {
        name.removeprefix("fleetwide."): value
        for name, value in metadata.items()
        if name.startswith("fleetwide.")
    }
    assert ours == {
        "kind": "workload",
        "appversion": "hello-1.0.0-h42.c0ffee/ci/hello/42",
        "owner": "team-a",
        "build.job": "ci/hello",
        "build.number": "42",
        "build.host": "agent-1.example",
        "build.url": "https://ci.example/42",
        "bake.key": bake.bake_key,
        "bake.content-key": bake.content_key,
        "bake.artifacts": "tarball:sha256:" + "a" * 64,
        "bake.dependencies": "0",
        "bake.recipe": "service:3",
        "os.release": "baseos:20261122.1",
        "os.distribution": "debian",
        "os.suite": "bookworm",
        "os.digest": BASE.digest,
        "sbom.digest": SBOM,
        "init": "tini",
        "volumes": '["/var/a b","/var/b"]',
    }


def test_what_is_not_known_is_left_out() -> None:
    assert all(bake_metadata(resolved(), "").values())
    missing = {"fleetwide.owner", "fleetwide.sbom.digest", "org.opencontainers.image.revision"}
    assert not missing & bake_metadata(resolved(), "").keys()


def test_labels_of_people_are_kept() -> None:
    assert bake_metadata(resolved(labels={"tier": "gold"}), "")["tier"] == "gold"


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"": "x"}, "letters, digits"),
        ({"two words": "x"}, "letters, digits"),
        ({"a=b": "x"}, "letters, digits"),
        ({"n" * 129: "x"}, "at most 128"),
        ({"é": "x"}, "letters, digits"),
        ({"tier": "x" * (MAX_LABEL_BYTES + 1)}, f"at most {MAX_LABEL_BYTES} bytes"),
        ({"tier": "a\x1b[2J"}, "control characters"),
        ({"fleetwide.owner": "me"}, "set by the platform"),
        ({"org.opencontainers.image.title": "me"}, "set by the platform"),
        ({f"k{n}": "x" * MAX_LABEL_BYTES for n in range(33)}, str(MAX_LABELS_BYTES)),
    ],
)
def test_labels_that_no_image_can_carry_are_refused(labels: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        check_labels(labels)


def test_reserved_labels_that_came_past_the_spec_do_not_reach_an_image() -> None:
    bake = resolved()
    spec = bake.spec.model_copy(update={"labels": {"fleetwide.owner": "somebody"}})
    with pytest.raises(InvalidInput, match=r"fleetwide\.owner"):
        bake_metadata(bake.model_copy(update={"spec": spec}), "")


def test_a_list_of_volumes_too_long_for_a_label_is_left_to_the_config() -> None:
    volumes = [f"/var/{number}/" + "v" * 500 for number in range(10)]
    bake = resolved(volumes=volumes)
    assert "fleetwide.volumes" not in bake_metadata(bake, "")
    assert len(run_section(bake)["Volumes"]) == 10


def test_all_layers_of_the_base_stand_below_the_workload() -> None:
    document = baked_image(resolved(), BELOW, LAYER, {}, {"a": "b"})
    config, manifest = json.loads(document.config), json.loads(document.manifest)
    assert BASE.layer is not None
    layers = [LOWER, BASE.layer, LAYER]
    assert config["rootfs"]["diff_ids"] == [one.diff_id for one in layers]
    assert [one["digest"] for one in manifest["layers"]] == [one.digest for one in layers]
    steps = [step["created_by"] for step in config["history"]]
    assert steps == ["lower", "upper", "Bake hello 1.0.0"]
    assert document.size == 147
    assert config["config"]["Labels"] == manifest["annotations"] == {"a": "b"}


def test_the_config_says_how_to_run_the_workload() -> None:
    check = {"command": ["/opt/hello/check"]}
    bake = resolved(
        entrypoint=["/opt/hello/run"],
        command=["serve"],
        user="app:app",
        workdir="/srv",
        ports=[81, 80, 81],
        volumes=["/data"],
        healthcheck=check,
        env={"SPEC": "1"},
    )
    section = run_section(bake, {"LANG": "C.UTF-8"})
    assert section["Entrypoint"] == ["/opt/hello/run"]
    assert section["Cmd"] == ["serve"]
    assert (section["User"], section["WorkingDir"]) == ("app:app", "/srv")
    assert section["ExposedPorts"] == {"80/tcp": {}, "81/tcp": {}}
    assert section["Volumes"] == {"/data": {}}
    assert section["Healthcheck"]["Test"] == ["CMD", "/opt/hello/check"]
    # The environment is the merged one that the caller gives, and nothing else.
    assert [one for one in section["Env"] if not one.startswith("PATH=")] == ["LANG=C.UTF-8"]


def test_an_init_goes_before_the_entry_point() -> None:
    assert run_section(resolved(init=True, entrypoint=["/run"]))["Entrypoint"] == [
        *("/usr/bin/tini", "--", "/run")
    ]
    assert run_section(resolved(init=True))["Entrypoint"] == ["/usr/bin/tini", "--"]


def documents(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    layer = {"mediaType": LAYER_TYPE, "digest": LOWER.digest, "size": LOWER.size}
    manifest = {"layers": [layer], **changes}
    steps = [{"created_by": "one"}, {"created_by": "two", "empty_layer": True, "comment": "c"}]
    return manifest, {"rootfs": {"diff_ids": [LOWER.diff_id]}, "history": steps}


def test_a_base_is_read_from_its_own_documents() -> None:
    content = base_content(*documents())
    assert content.layers == [LOWER]
    assert content.history == [HistoryStep("one"), HistoryStep("two", "c", has_layer=False)]


def test_a_base_whose_documents_do_not_fit_is_refused() -> None:
    with pytest.raises(PlatformError, match="0 layers, but its config names 1"):
        base_content(*documents(layers=[]))
    strange = {"mediaType": "application/zstd", "digest": LOWER.digest, "size": 1}
    with pytest.raises(PlatformError, match="application/zstd"):
        base_content(*documents(layers=[strange]))


@pytest.mark.parametrize(
    "change",
    [
        {"owner": "team-b"},
        {"build": {**BUILD, "number": "43"}},
        {"build": {**BUILD, "commit": "beef"}},
        {"build": {**BUILD, "url": "https://ci.example/43"}},
        {"labels": {"tier": "gold"}},
        {"labels": {}},
    ],
)
def test_metadata_changes_without_the_bytes(change: dict[str, Any]) -> None:
    first: dict[str, Any] = {"owner": "team-a", "build": BUILD, "labels": {"tier": "silver"}}
    before, after = resolved(**first), resolved(**{**first, **change})
    assert before.bake_key == after.bake_key
    assert metadata_changed(imaged(before), after)
    assert not metadata_changed(imaged(before), before)


def test_metadata_of_an_image_for_vms_alone_change_too() -> None:
    before, after = (resolved(owner=owner, targets=["vm"]) for owner in ("team-a", "team-b"))
    image = imaged(before, digest=None, metadata=bake_metadata(before, ""))
    assert metadata_changed(image, after)
    assert not metadata_changed(image, before)
