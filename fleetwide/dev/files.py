"""The configuration files that the platform's servers read. Pure text."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from fleetwide.dev.config import Restart
from fleetwide.dev.plan import Plan, PlannedProcess
from fleetwide.registry.nginx import NginxPlan, nginx_config

FRONT_DOOR = ("registry", "gateway", "distribution")
"""nginx, and what it stands before."""

_AUTORESTART = {
    Restart.ALWAYS: "true",
    Restart.NEVER: "false",
    Restart.ON_FAILURE: "unexpected",
}


def registry_config(state: Path, port: int, secret: str) -> str:
    """Docker Distribution's configuration.

    It has no blob descriptor cache: with one, a manifest whose blobs garbage collection removed
    is accepted, and the image is corrupt. ``secret`` signs the state of uploads: it has to stay
    the same, or an upload that a restart interrupts cannot go on. Its addresses are relative: a
    client stands before nginx. Layers that may not be distributed may lie at any URL.
    """
    return yaml.safe_dump(
        {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(state / "registry")},
                "delete": {"enabled": True},
            },
            "http": {"addr": f"127.0.0.1:{port}", "secret": secret, "relativeurls": True},
            "validation": {"manifests": {"urls": {"allow": [".*"]}}},
        },
        sort_keys=False,
    )


def front_door_config(plan: Plan, user: str | None) -> str:
    """The configuration of nginx; ``user`` reads the blobs, where root starts it."""
    ports = {name: plan.process(name).ports[0] for name in FRONT_DOOR}
    address = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    return nginx_config(
        NginxPlan(
            listen=address["registry"],
            gateway=address["gateway"],
            distribution=(address["distribution"],),
            folder=plan.state / "nginx",
            storage=plan.state / "registry",
            user=user,
        )
    )


def supervisor_config(plan: Plan, socket: Path, private: Mapping[str, Mapping[str, str]]) -> str:
    """The supervisor's configuration; nothing starts by itself, ``dev up`` starts all in order.

    ``private`` are variables that a process gets besides and that the plan does not keep.
    """
    head = f"""\
[unix_http_server]
file={_plain(socket)}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisord]
logfile={_plain(plan.logs / "supervisord.log")}
logfile_maxbytes=0
pidfile={_plain(plan.state / "supervisord.pid")}
directory={_plain(plan.state.parent)}
childlogdir={_plain(plan.logs)}
"""
    return "\n".join(
        [
            head,
            *(
                _program(plan, process, {**process.environment, **private.get(process.name, {})})
                for process in plan.processes
            ),
        ]
    )


def _program(plan: Plan, process: PlannedProcess, variables: Mapping[str, str]) -> str:
    # A one-shot may end at once; anything else that ends within a second failed to start.
    start_seconds = 0 if process.one_shot else 1
    return f"""\
[program:{process.name}]
command={_command(process)}
environment={_environment(variables)}
autostart=false
autorestart={_AUTORESTART[process.restart]}
startsecs={start_seconds}
startretries=10
stopasgroup=true
killasgroup=true
stopwaitsecs={process.stop_seconds}
redirect_stderr=true
stdout_logfile={_plain(plan.logs / process.name)}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=2
"""


def _command(process: PlannedProcess) -> str:
    return " ".join(f'"{_quoted(word)}"' for word in process.command)


def _environment(variables: Mapping[str, str]) -> str:
    return ",".join(f'{key}="{_quoted(value)}"' for key, value in variables.items())


def _quoted(text: str) -> str:
    return _plain(text.replace("\\", "\\\\").replace('"', '\\"'))


def _plain(text: object) -> str:
    """Escape what supervisord would expand: ``%(name)s``."""
    return str(text).replace("%", "%%")
