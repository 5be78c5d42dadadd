import json
from typing import Any

from fleetwide.models.bakery import HealthCheck
from fleetwide.models.base import Layer
from fleetwide.registry.digests import canonical_json, digest_of
from fleetwide.registry.oci import HistoryStep, ImageParts, RunConfig, build_image

LAYER = Layer(digest="sha256:" + "1" * 64, diff_id="sha256:" + "2" * 64, size=10)


def parts(**changes: Any) -> ImageParts:
    given: dict[str, Any] = {
        "architecture": "amd64",
        "epoch": 1_795_305_600,
        "layers": [LAYER],
        "history": [HistoryStep("made")],
        "run": RunConfig(env={"B": "2", "A": "1"}, command=["run"], ports=[80]),
        "annotations": {"k": "v"},
    }
    return ImageParts(**{**given, **changes})


def test_equal_parts_give_equal_bytes() -> None:
    assert build_image(parts()) == build_image(parts())


def test_a_changed_part_gives_another_digest() -> None:
    assert build_image(parts()).digest != build_image(parts(epoch=0)).digest


def test_the_config_says_how_to_run_and_when_it_was_made() -> None:
    config = json.loads(build_image(parts()).config)
    assert config["created"] == config["history"][0]["created"] == "2026-11-22T00:00:00Z"
    assert config["rootfs"] == {"type": "layers", "diff_ids": [LAYER.diff_id]}
    assert config["config"]["Env"][:2] == ["A=1", "B=2"]
    assert config["config"]["Env"][2].startswith("PATH=/usr/local/sbin:")
    assert config["config"]["Cmd"] == ["run"]
    assert config["config"]["ExposedPorts"] == {"80/tcp": {}}
    assert "Entrypoint" not in config["config"]


def test_the_manifest_names_config_and_layers_by_digest() -> None:
    image = build_image(parts())
    manifest = json.loads(image.manifest)
    assert manifest["config"]["digest"] == digest_of(image.config) == image.config_digest
    assert manifest["config"]["size"] == len(image.config)
    assert manifest["layers"][0]["digest"] == LAYER.digest
    assert manifest["annotations"] == {"k": "v"}
    assert image.size == 10


def test_health_check_and_volumes_are_written_as_docker_reads_them() -> None:
    check = HealthCheck(command=["curl", "localhost"], interval_seconds=1.5, retries=2)
    run = RunConfig(volumes=["/data"], healthcheck=check)
    section = json.loads(build_image(parts(run=run)).config)["config"]
    assert section["Volumes"] == {"/data": {}}
    assert section["Healthcheck"] == {
        "Test": ["CMD", "curl", "localhost"],
        "Interval": 1_500_000_000,
        "Timeout": 5_000_000_000,
        "StartPeriod": 10_000_000_000,
        "Retries": 2,
    }


def test_a_step_without_a_layer_says_so() -> None:
    steps = [HistoryStep("made"), HistoryStep("labelled", has_layer=False)]
    history = json.loads(build_image(parts(history=steps)).config)["history"]
    assert [step.get("empty_layer") for step in history] == [None, True]


def test_arm64_carries_its_variant() -> None:
    assert json.loads(build_image(parts(architecture="arm64")).config)["variant"] == "v8"


def test_canonical_json_does_not_depend_on_the_order_of_keys() -> None:
    assert canonical_json({"b": 1, "a": "é"}) == canonical_json({"a": "é", "b": 1})
