"""Examples of request bodies, shown in the OpenAPI pages."""

from fastapi.openapi.models import Example

_CONTAINER = {
    "image": "apps/hello:1.0.0",
    "command": ["sh", "-c", "echo hi"],
    "resources": {"cpu": 0.25, "memory": "64MiB"},
}

OS_SPEC: dict[str, Example] = {
    "debian": {
        "summary": "A small Debian",
        "value": {"name": "baseos", "distribution": "debian", "suite": "bookworm"},
    }
}
PROMOTE: dict[str, Example] = {
    "stable": {"summary": "Make it the stable release", "value": {"channel": "stable"}}
}
BAKE_SPEC: dict[str, Example] = {
    "wheel": {
        "summary": "A Python wheel onto the stable base",
        "value": {
            "name": "hello",
            "version": "1.0.0",
            "base": "baseos:stable",
            "artifacts": [
                {
                    "type": "wheel",
                    "sha256": "0" * 64,
                    "filename": "hello-1.0.0-py3-none-any.whl",
                }
            ],
            "entrypoint": ["hello"],
        },
    }
}
TASK_SPEC: dict[str, Example] = {
    "hello": {"summary": "Say hi", "value": {"app": "hello", "container": _CONTAINER}}
}
JOB_SPEC: dict[str, Example] = {
    "array": {
        "summary": "Twenty children, each tried up to three times",
        "value": {
            "app": "hello",
            "size": 20,
            "container": _CONTAINER,
            "retry": {"retries": 2},
        },
    }
}
KILL: dict[str, Example] = {
    "reason": {"summary": "Kept with the thing", "value": {"reason": "started by mistake"}}
}
