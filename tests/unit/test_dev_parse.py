"""temporal-dev.yaml: what is read, and how each fault is told."""

from pathlib import Path

import pytest

from fleetwide.dev.config import dump
from fleetwide.dev.parse import load, parse
from fleetwide.errors import InvalidInput, NotFound

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "temporal-dev.yaml"
SMALL = """\
env:
  dev:
    address: 127.0.0.1:7233
processes:
  api:
    command: fleetwide api
    port: 8300
"""


def test_the_shipped_file_names_every_process() -> None:
    config = load(SHIPPED)
    assert set(config.processes) >= {
        "temporal", "distribution", "gateway", "registry", "aws", "dockerd", "migrate",
        "api", "control", "builder", "scheduler", "host",
    }  # fmt: skip
    assert config.temporal.task_queue == "control"
    assert config.server.search_attributes["ImageDigest"] == "Keyword"


def test_dump_and_parse_agree() -> None:
    config = load(SHIPPED)
    assert parse(dump(config)) == config


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("port: 8300", "prot: 8300", "x.yaml:7: processes.api.prot: unknown key; did you mean port?"),
        ("port: 8300", "port: 0", "x.yaml:7: processes.api.port: input should be greater than"),
        ("port: 8300", "port: '8300'", "x.yaml:7: processes.api.port: input should be a valid int"),
        ("port: 8300", "after: apj", "no process is called apj; did you mean api?"),
        ("port: 8300", "after: api", "x.yaml:7: processes.api.after: these wait for each other: api"),
        ("port: 8300", "port: 7233", "7233 is the port of env.dev.port already"),
        ("port: 8300", "health: ftp://x", "must be http://..., tcp:host:port, unix:/path or file:/"),
        ("port: 8300", "restart: often", "'always', 'never' or 'on-failure' (given: often)"),
        ("port: 8300", "environment: A B=1", "must be NAME=value NAME=value, A is not"),
        ("port: 8300", "environment: 'A=\"'", "x.yaml:7: processes.api.environment: no closing quot"),
        ("port: 8300", "command: x", "x.yaml:7: processes.api.command: stands twice, first on line 6"),
        ("fleetwide api", "a {prot}", "x.yaml:6: processes.api.command: unknown placeholder {prot}"),
        ("fleetwide api", "'a \"b'", "x.yaml:6: processes.api.command: no closing quotation"),
        ("fleetwide api", "' '", "x.yaml:6: processes.api.command: must name a program"),
        ("  api:", "  Api:", "processes.Api: string should match pattern"),
        ("127.0.0.1:7233", "127.0.0.1:1", "x.yaml:2: env.dev: address must be ip:port, here 127.0.0.1:7"),
        ("processes:", "server:\n  colour:\n    a: 1\nprocesses:", "x.yaml:5: server.colour: unknown key; known:"),
        ("processes:", "server:\n  dynamic-config:\n    a: [1]\nprocesses:", "must be one value, not a list"),
        ("processes:", "server:\n  search-attributes:\n    A: Word\nprocesses:", "(given: Word)"),
        ("processes:", "more: [", "x.yaml:6: not YAML:"),
        ("processes:", "more: \x07", "x.yaml:1: not YAML:"),
    ],
)  # fmt: skip
def test_a_fault_has_its_line(old: str, new: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(SMALL.replace(old, new), "x.yaml")
    assert told in caught.value.message


def test_all_faults_are_told_at_once() -> None:
    text = SMALL.replace("port: 8300", "port: x\n    restart: y").replace("address", "adress")
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    keys = [fault.field for fault in caught.value.fields]
    assert keys == [
        "env.dev.address",
        "env.dev.adress",
        "processes.api.port",
        "processes.api.restart",
    ]
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", "- 1", "word", "3"])
def test_anything_but_a_map_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="must be a map of sections"):
        parse(text)


def test_a_missing_file_says_where_to_stand(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        load(tmp_path / "temporal-dev.yaml")
    assert "--file" in (caught.value.hint or "")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="cannot be read"):
        load(file)
