"""The generated files, read back by the parsers of the programs that will read them."""

import configparser
import shlex
from pathlib import Path

import yaml

from fleetwide.dev.files import front_door_config, registry_config, supervisor_config
from fleetwide.dev.parse import load
from fleetwide.dev.plan import Surroundings, derive

CONFIG = load(Path(__file__).parents[2] / "temporal-dev.yaml")
STATE = Path("/srv/my state")


def _supervisor(environment: str | None = None) -> configparser.RawConfigParser:
    api = CONFIG.processes["api"].model_copy(update={"environment": environment})
    config = CONFIG.model_copy(update={"processes": CONFIG.processes | {"api": api}})
    plan = derive(config, Surroundings(STATE, "unix:///x", Path("/bin")))
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(supervisor_config(plan, Path("/run/x.sock"), {"api": {"PRIVATE": "s3cret"}}))
    return parser


def test_commands_survive_the_supervisors_splitting() -> None:
    command = _supervisor()["program:temporal"]["command"]
    words = shlex.split(command)
    assert 'history.timerProcessorMaxTimeShift="10ms"' in words
    assert "/srv/my state/temporal.db" in words


def test_restart_policies_map_to_autorestart() -> None:
    parser = _supervisor()
    assert parser["program:api"]["autorestart"] == "true"
    assert parser["program:migrate"]["autorestart"] == "false"
    assert parser["program:migrate"]["startsecs"] == "0"


def test_what_is_private_reaches_its_process_alone() -> None:
    parser = _supervisor()
    holders = [name for name in parser if "s3cret" in parser[name].get("environment", "")]
    assert holders == ["program:api"]


def test_odd_values_survive_quoting() -> None:
    line = _supervisor("""'ODD=50% of "a\\b",c=d'""")["program:api"]["environment"]
    words = list(shlex.shlex(line, posix=True))
    assert words[words.index("ODD") + 2] == '50%% of "a\\b",c=d'


def test_the_registry_has_no_descriptor_cache_and_deletes() -> None:
    config = yaml.safe_load(registry_config(STATE, 5050, "word"))
    assert "cache" not in config["storage"]
    assert config["storage"]["delete"] == {"enabled": True}
    assert config["http"] == {
        "addr": "127.0.0.1:5050", "secret": "word", "relativeurls": True,
    }  # fmt: skip


def test_the_front_door_stands_before_gateway_and_distribution() -> None:
    plan = derive(CONFIG, Surroundings(STATE, "unix:///x", Path("/bin")))
    text = front_door_config(plan, "root")
    assert "listen 127.0.0.1:5050" in text
    assert "server 127.0.0.1:5051" in text
    assert "server 127.0.0.1:5052" in text
    assert "user root;" in text
    assert 'alias "/srv/my state/registry/docker/registry/v2/blobs/";' in text
    assert "user root;" not in front_door_config(plan, None)
