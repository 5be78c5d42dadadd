"""The systemd unit of a workload on a VM: what an image's config is to a container."""

import re
from collections.abc import Mapping

from fleetwide.errors import InvalidInput
from fleetwide.models.bakes import ResolvedBake

UNIT_FOLDER = "etc/systemd/system"
WANTS_FOLDER = f"{UNIT_FOLDER}/multi-user.target.wants"
VENDOR_FOLDERS = ("usr/lib/systemd/system", "lib/systemd/system")
RESTART_SECONDS = 5
"""More than a fifth of systemd's 10 s window for 5 starts: it tries again for ever."""

_PLAIN = re.compile(r"[A-Za-z0-9_./:=,@+-]+")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def unit_name(bake: ResolvedBake) -> str:
    """The unit's file name."""
    return f"{bake.spec.name}.service"


def has_unit(bake: ResolvedBake) -> bool:
    """Whether the bake says what to start; debs may bring units of their own instead."""
    return bool(bake.spec.entrypoint or bake.spec.command)


def workload_unit(bake: ResolvedBake, env: Mapping[str, str]) -> str:
    """The unit that starts the workload with the machine, as its user, again when it fails.

    ``env`` is the platform's; what the spec says goes before it. The bake must have a command.
    Raises ``InvalidInput`` when that begins with something else than a program. Source:
    systemd.service(5), systemd.exec(5), systemd.syntax(7).
    """
    spec = bake.spec
    words = [*spec.entrypoint, *spec.command]
    _check_program(words[0])
    user, _, group = spec.user.partition(":")
    lines = [
        "[Unit]",
        f"Description={_percent(f'{spec.name} {spec.version}')}",
        "After=network.target cloud-init.service",
        "",
        "[Service]",
        "Type=exec",
        f"User={user}",
        *([f"Group={group}"] if group else []),
        f"WorkingDirectory={_path(spec.workdir)}",
        *(_assignment(name, value) for name, value in sorted({**env, **spec.env}.items())),
        *(_prepared(path, user, group) for path in sorted(set(spec.volumes))),
        # The colon: a dollar stands for itself.
        f"ExecStart=:{' '.join(map(_word, words))}",
        "Restart=on-failure",
        f"RestartSec={RESTART_SECONDS}",
        "NoNewPrivileges=yes",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def _check_program(word: str) -> None:
    """Before the program systemd takes a sign that, for one, starts it as root."""
    if not re.match(r"[A-Za-z0-9_./]", word):
        raise InvalidInput.for_field(
            "entrypoint", "must begin with the path or the name of a program", given=word
        )


def _prepared(path: str, user: str, group: str) -> str:
    """Root makes a folder that the workload may write to."""
    owner = f"-o {user}" + (f" -g {group}" if group else "")
    return f"ExecStartPre=+:/usr/bin/install -d {owner} {_word(path)}"


def _assignment(name: str, value: str) -> str:
    return f"Environment={_word(f'{name}={value}')}"


def _word(text: str) -> str:
    """One word of a list of words."""
    if _PLAIN.fullmatch(text):
        return text
    escaped = "".join(_ESCAPES.get(one) or _printable(one) for one in text)
    return f'"{_percent(escaped)}"'


def _path(path: str) -> str:
    """A value that is a path as a whole, in which quotes mean nothing.

    A backslash at the end would join the next line to it.
    """
    return _percent(f"{path}/" if path.endswith("\\") else path)


def _printable(character: str) -> str:
    return character if character >= " " and character != "\x7f" else f"\\x{ord(character):02x}"


def _percent(text: str) -> str:
    return text.replace("%", "%%")
