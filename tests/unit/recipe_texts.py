"""Recipes to test with."""

from datetime import UTC, datetime
from typing import Any

from fleetwide.bakery.recipes import recipe_digest
from fleetwide.models.recipes import Recipe, RecipeSpec

NOW = datetime(2026, 11, 24, tzinfo=UTC)
SERVICE: dict[str, Any] = {
    "name": "service",
    "parameters": {
        "module": {},
        "port": {"type": "integer", "default": "8080"},
        "level": {"default": "info", "choices": ["info", "debug"]},
    },
    "packages": ["python3", "ca-certificates"],
    "entrypoint": ["/usr/bin/python3", "-m", "${module}"],
    "command": ["--port", "${port}"],
    "env": {"PORT": "${port}", "LEVEL": "${level}", "PRICE": "$$5", "SHELLS": "$HOME"},
    "files": [{"path": "/etc/${module}.conf", "content": "port = ${port}\n"}],
    "healthcheck": {"command": ["/usr/bin/check", "${port}"], "interval_seconds": 5},
    "labels": {"app": "${module}"},
    "user": "web",
    "workdir": "/srv/${module}",
    "ports": [8080],
    "owner": "platform-team",
    "drop_setuid": True,
}


def recipe_spec(**changes: Any) -> RecipeSpec:
    return RecipeSpec.model_validate({**SERVICE, **changes})


def recipe(version: int = 3, **changes: Any) -> Recipe:
    spec = recipe_spec(**changes)
    return Recipe(spec=spec, version=version, digest=recipe_digest(spec), created_at=NOW)
