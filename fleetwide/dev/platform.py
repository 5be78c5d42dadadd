"""``fleetwide dev``: bring a whole platform up on this machine, look at it, take it down."""

import os
import shlex
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleetwide.dev import docker, files
from fleetwide.dev.config import DevConfig, only, ports_of, without
from fleetwide.dev.health import healthy
from fleetwide.dev.machine import marked_processes, taken_ports
from fleetwide.dev.plan import Plan, PlannedProcess, Surroundings, derive, inherited
from fleetwide.dev.registry_accounts import ADMIN, admin_secret, prepare_accounts
from fleetwide.dev.start import Report, Start
from fleetwide.dev.state import delete, load_plan, locked, store_plan, stored_secret, write_private
from fleetwide.dev.stop import DOCKERD, stop_all, sweep
from fleetwide.dev.supervisor import ProcessInfo, Supervisor, launch, restarts, socket_path
from fleetwide.dev.unindexed import unindexed
from fleetwide.errors import Conflict, DockerUnavailable, NotFound
from fleetwide.models.base import Record


def _silent(line: str) -> None:
    del line


@dataclass(frozen=True)
class UpOptions:
    """How to bring a platform up."""

    names: tuple[str, ...] = ()
    """Start only these and what they come after; none means all."""
    report: Report = _silent
    """Gets one line for each step."""
    shell: Mapping[str, str] = field(default_factory=lambda: os.environ)
    """The variables to inherit from; credentials among them are left out."""


class ProcessStatus(Record):
    """One line of ``dev status``."""

    name: str
    state: str
    """supervisor's word in small letters; ``done`` for a one-shot that ended well."""
    pid: int | None
    uptime_seconds: int | None
    ports: tuple[int, ...]
    healthy: bool
    restarts: int


def up(config: DevConfig, state_dir: Path, options: UpOptions | None = None) -> Plan:
    """Start what does not run yet and return when all of it is healthy. Idempotent.

    Raises:
        Conflict: ports are taken, or another command is at work; nothing was started.
        NotFound: a program is not installed, or there is no such process.
        DockerUnavailable: no Docker daemon answers and none can be started.
        ServiceUnavailable: a process did not become healthy; the others keep running.
    """
    options = options or UpOptions()
    _check_names(config, options.names)
    state = state_dir.resolve()
    state.mkdir(mode=0o755, parents=True, exist_ok=True)
    with locked(state):
        return _up(config, state, options)


def _up(config: DevConfig, state: Path, options: UpOptions) -> Plan:
    supervisor = Supervisor(socket_path(state))
    around = _surroundings(state, options)
    variables = inherited(options.shell, around)
    running = load_plan(state) if supervisor.alive() else None
    if running is None:
        sweep(state, options.report)
        config = _with_docker(config, around, options)
        plan = derive(config, around)
    else:
        plan = running
        _tell_changes(config, plan, options)
    wanted = _without_needless_docker(
        _wanted(plan, config, options.names), around, supervisor, options.report
    )
    if not wanted:
        return plan
    _check_programs(wanted, variables["PATH"])
    _check_ports(wanted, supervisor)
    if running is None:
        supervisor = _launch(config, plan, variables)
        for process in wanted.values():
            options.report(f"{process.name:<10} $ {shlex.join(process.command)}")
        if "gateway" in wanted:
            options.report(_how_to_log_in(plan))
    started = Start(plan, supervisor, variables["PATH"], options.report, wanted).run()
    options.report(f"up: {started} started" if started else "already up")
    if "gateway" in wanted:
        _tell_unindexed(plan, options.report)
    return plan


def _tell_unindexed(plan: Plan, report: Report) -> None:
    lost = unindexed(plan.state)
    if not lost:
        return
    database = plan.process("gateway").environment["FLEETWIDE_DATABASE_URL"]
    distribution = plan.process("distribution").ports[0]
    report(
        f"{len(lost)} repositories, {lost[0]} among them, are not in the registry's index; "
        f"to take them in: FLEETWIDE_DATABASE_URL='{database}' "
        f"fleetwide registry import --from http://127.0.0.1:{distribution}"
    )


def _how_to_log_in(plan: Plan) -> str:
    address = f"127.0.0.1:{plan.process('registry').ports[0]}"
    return (
        f"{'registry':<10} log in: docker login {address} -u {ADMIN} --password-stdin "
        f"< {shlex.quote(str(admin_secret(plan.state)))}"
    )


def _surroundings(state: Path, options: UpOptions) -> Surroundings:
    return Surroundings(state, docker.url_from(options.shell), Path(sys.executable).parent)


def _check_names(config: DevConfig, names: tuple[str, ...]) -> None:
    unknown = [name for name in names if name not in config.processes]
    if unknown:
        known = ", ".join(config.processes)
        raise NotFound(f"no process is called {unknown[0]}", hint=f"known: {known}")


def _with_docker(config: DevConfig, around: Surroundings, options: UpOptions) -> DevConfig:
    """``config`` less its own Docker daemon where one answers already."""
    chosen = only(config, options.names) if options.names else config
    if DOCKERD not in chosen.processes:
        return config
    if docker.answers(around.docker_url):
        options.report(_not_needed(around))
        return without(config, DOCKERD)
    health = config.processes[DOCKERD].health or ""
    if around.docker_url.removeprefix("unix://") != health.removeprefix("unix:"):
        raise DockerUnavailable(
            f"no Docker daemon answers at {around.docker_url}",
            hint="start that daemon, or unset DOCKER_HOST and FLEETWIDE_DOCKER_URL",
        )
    if os.geteuid() != 0:
        raise DockerUnavailable(
            f"no Docker daemon answers at {around.docker_url}, and only root can start one",
            hint='sudo service docker start && sudo usermod -aG docker "$USER" (then log in again)',
        )
    return config


def _without_needless_docker(
    wanted: dict[str, PlannedProcess], around: Surroundings, supervisor: Supervisor, report: Report
) -> dict[str, PlannedProcess]:
    """``wanted`` less our own Docker daemon where another answers: it would take that one's socket.

    A platform that came up in parts has a plan from before it was asked for.
    """
    if DOCKERD not in wanted or not docker.answers(around.docker_url):
        return wanted
    ours = supervisor.info().get(DOCKERD) if supervisor.alive() else None
    if ours is not None and ours.runs:
        return wanted
    report(_not_needed(around))
    return {
        name: process.model_copy(
            update={"needs": tuple(need for need in process.needs if need != DOCKERD)}
        )
        for name, process in wanted.items()
        if name != DOCKERD
    }


def _not_needed(around: Surroundings) -> str:
    return f"{DOCKERD:<10} not needed: a Docker daemon answers at {around.docker_url}"


def _tell_changes(config: DevConfig, plan: Plan, options: UpOptions) -> None:
    """Compare as the running platform was derived: with or without its own Docker daemon."""
    ours = DOCKERD in {process.name for process in plan.processes}
    same = config if ours else without(config, DOCKERD)
    if derive(same, _surroundings(plan.state, options)).fingerprint != plan.fingerprint:
        options.report(
            "the configuration has changed since; to apply it: fleetwide dev down, then up"
        )


def _wanted(plan: Plan, config: DevConfig, names: tuple[str, ...]) -> dict[str, PlannedProcess]:
    # A Docker daemon that was asked for by name may have turned out not to be needed.
    kept = tuple(name for name in names if name in config.processes)
    chosen = only(config, kept).processes if names else config.processes
    return {process.name: process for process in plan.processes if process.name in chosen}


def _check_programs(wanted: dict[str, PlannedProcess], path: str) -> None:
    programs = {process.command[0] for process in wanted.values()}
    missing = sorted(program for program in programs if not shutil.which(program, path=path))
    if missing:
        raise NotFound(f"not installed: {', '.join(missing)}", hint="make setup")


def _check_ports(wanted: dict[str, PlannedProcess], supervisor: Supervisor) -> None:
    known = supervisor.info()
    idle = [p for name, p in wanted.items() if name not in known or not known[name].runs]
    taken = taken_ports({port for process in idle for port in process.ports})
    if taken:
        platform = next((port.platform for port in taken if port.platform), None)
        down = f"fleetwide dev down --state-dir {platform}" if platform else None
        raise Conflict(
            "\n".join(map(str, taken)),
            hint=down or "end what holds them, or give other ports in the --file",
        )


def _launch(config: DevConfig, plan: Plan, variables: dict[str, str]) -> Supervisor:
    plan.logs.mkdir(exist_ok=True)
    (plan.logs / "supervisord.log").unlink(missing_ok=True)
    _write_registry_files(config, plan)
    logins = prepare_accounts(plan, variables) if "gateway" in config.processes else {}
    socket = socket_path(plan.state)
    settings = plan.state / "supervisord.conf"
    write_private(settings, files.supervisor_config(plan, socket, logins))
    store_plan(plan)
    return launch(settings, socket, variables)


def _write_registry_files(config: DevConfig, plan: Plan) -> None:
    state = plan.state
    if "distribution" in config.processes:
        secret = stored_secret(state / "registry.secret")
        port = ports_of(config, "distribution")[0]
        write_private(state / "registry.yml", files.registry_config(state, port, secret))
    if config.processes.keys() >= set(files.FRONT_DOOR):
        (state / "nginx").mkdir(exist_ok=True)
        user = "root" if os.geteuid() == 0 else None
        write_private(state / "nginx.conf", files.front_door_config(plan, user))


def down(state_dir: Path, report: Report = _silent) -> None:
    """Stop all that ``up`` started in ``state_dir``, and nothing else. Idempotent."""
    state = state_dir.resolve()
    if not state.is_dir():
        report("nothing runs")
        return
    with locked(state):
        count = stop_all(load_plan(state), state, Supervisor(socket_path(state)), report)
    report("down" if count else "nothing runs")


def status(state_dir: Path) -> list[ProcessStatus]:
    """Every process of the platform that was last started in ``state_dir``; empty if none was."""
    state = state_dir.resolve()
    plan = load_plan(state)
    if plan is None:
        return []
    known = Supervisor(socket_path(state)).info()
    again = restarts(plan.logs / "supervisord.log")
    return [
        _status(process, known.get(process.name), again[process.name]) for process in plan.processes
    ]


def _status(process: PlannedProcess, info: ProcessInfo | None, again: int) -> ProcessStatus:
    runs = info is not None and info.runs
    done = process.one_shot and info is not None and info.ended_well
    well = runs and (process.health is None or healthy(process.health))
    return ProcessStatus(
        name=process.name,
        state="done" if done else info.statename.lower() if info else "stopped",
        pid=info.pid if info and runs else None,
        uptime_seconds=int(time.time()) - info.start if info and runs else None,
        ports=process.ports,
        healthy=done or well,
        restarts=again,
    )


def reset(state_dir: Path) -> None:
    """Delete the platform's state folder; what it built and recorded is gone.

    Raises:
        Conflict: the platform, or one whose state lies inside that folder, is up.
    """
    state = state_dir.resolve()
    running = marked_processes(lambda other: other.is_relative_to(state))
    if running:
        raise Conflict(
            f"the platform in {state} is up ({len(running)} processes)",
            hint=f"fleetwide dev down --state-dir {state_dir}",
        )
    delete(state)
