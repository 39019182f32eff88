"""Logs: one JSON document per line on stderr, a fixed event name, identifiers in fields.

Correlation fields (`event_id`, `trace_id`, `model`) are bound at the edge by `rpc` and `bus` through
`structlog.contextvars`; nobody passes them by hand. Loggers of libraries (grpc, aiokafka, faust) come out the same way.
"""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logging(service: str, *, level: str = "INFO") -> None:
    """Set up logging for this process; called once, from `main`.

    Args:
        service: written into every line.
        level: smallest level that is written.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for chatty in ("aiokafka", "kafka", "faust", "mode", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # It calls a coordinator that Kafka is still electing, as at each first start, an error, and then tries again. What
    # it cannot try again it raises, and our own consumers say so. `error` is left for what a person must act on.
    logging.getLogger("aiokafka.consumer.group_coordinator").setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
