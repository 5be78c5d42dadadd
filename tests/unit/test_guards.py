"""Guards of the house: what no single test would notice."""

import ast
import importlib
import re
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from temporalio.worker import WorkflowRunner
from temporalio.workflow._definition import _Definition

from activities.hosts import HostActivities
from fleetwide.batch.outcome import child_state
from fleetwide.dev.parse import load
from fleetwide.errors import TRAITS, ErrorCode
from fleetwide.models.task_states import END_TRAITS, EndReason
from fleetwide.temporal.search_attributes import ALL
from fleetwide.temporal.worker import sandbox
from workers.registry import WORKFLOWS
from workflows.unknown import KNOWN

ROOT = Path(__file__).parents[2]
PACKAGES = ("fleetwide", "workflows", "activities", "workers", "api")
SOURCES = sorted(
    path for name in (*PACKAGES, "tests", "benchmarks") for path in (ROOT / name).rglob("*.py")
)
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 70
MAX_PARAMETERS = 6


@pytest.mark.parametrize("name", PACKAGES)
def test_a_top_level_name_is_ours_alone(name: str) -> None:
    assert set(packages_distributions().get(name, ["fleetwide"])) == {"fleetwide"}
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).parent == ROOT / name


@pytest.mark.parametrize("cls", WORKFLOWS, ids=lambda cls: cls.__name__)
async def test_a_workflow_prepares_in_the_sandbox(cls: type) -> None:
    runner: WorkflowRunner = sandbox()
    runner.prepare_workflow(_Definition.must_from_class(cls))


def test_every_activity_that_a_workflow_names_is_registered() -> None:
    registry = "".join(
        (ROOT / "workers" / name).read_text() for name in ("registry.py", "replication.py")
    )
    text = "".join(path.read_text() for path in (ROOT / "workflows").glob("*.py"))
    methods = set(re.findall(r"\b(?:\w+)Activities\.(\w+)", text))
    assert methods
    missing = {name for name in methods if f".{name}," not in registry}
    assert missing == set()
    by_name = set(re.findall(r'"(hosts\.\w+)"', text))
    offered = {
        getattr(value, "__temporal_activity_definition").name
        for value in vars(HostActivities).values()
        if hasattr(value, "__temporal_activity_definition")
    }
    assert by_name
    assert by_name <= offered


def test_the_dev_file_registers_the_search_attributes_that_the_code_uses() -> None:
    config = load(ROOT / "temporal-dev.yaml")
    assert set(config.server.search_attributes) == {key.name for key in ALL}


def test_the_answer_to_an_unknown_type_names_every_type() -> None:
    names = {_Definition.must_from_class(cls).name for cls in WORKFLOWS} - {None}
    assert set(KNOWN) == names


def test_every_mapping_is_total() -> None:
    assert set(TRAITS) == set(ErrorCode)
    assert set(END_TRAITS) == set(EndReason)
    for reason in EndReason:
        assert child_state(reason)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_functions_and_parameter_lists_stay_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    if "migrations/versions" in str(path):
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, node.name
            assert len(node.args.args) <= MAX_PARAMETERS + 1, node.name
