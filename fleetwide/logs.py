"""Structured logs to standard error, with the ids of the work bound to every line."""

import logging
import sys
from typing import TYPE_CHECKING

import structlog

from fleetwide.errors import InvalidInput
from fleetwide.settings import LogFormat, Settings

if TYPE_CHECKING:
    from structlog.typing import Processor

# One line per request or poll: of use only to those who debug these libraries.
QUIET_LOGGERS = ("botocore", "boto3", "urllib3", "docker", "httpx2", "asyncio", "uvicorn.access")


def configure_logging(settings: Settings, service: str) -> None:
    """Send every log line of this process, stdlib loggers included, to standard error.

    ``service`` names the process in each line. Raises ``InvalidInput`` for an unknown level.
    """
    level = _level(settings.log_level)
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(settings.log_format, service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def bind(**ids: str | int) -> None:
    """Add ids (workflow_id, run_id, activity, task, ...) to every further line of this context.

    A context is a thread or an asyncio task; what was bound in one is not seen by others.
    """
    structlog.contextvars.bind_contextvars(**ids)


def unbind() -> None:
    """Forget what ``bind`` added in this context."""
    structlog.contextvars.clear_contextvars()


def _level(name: str) -> int:
    level = logging.getLevelNamesMapping().get(name.upper())
    if level is None:
        raise InvalidInput.for_field(
            "log_level", "must be DEBUG, INFO, WARNING or ERROR", given=name
        )
    return level


def _shared() -> "list[Processor]":
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _formatter(style: LogFormat, service: str) -> logging.Formatter:
    def add_service(
        _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["service"] = service
        return event

    last: list[Processor]
    if style is LogFormat.JSON:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        # The richer formatter imports modules, which fails inside the workflow sandbox.
        plain = structlog.dev.plain_traceback
        last = [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
        ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_shared(), structlog.stdlib.ExtraAdder()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, add_service, *last],
    )
