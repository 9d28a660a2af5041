"""Structured logs: text for people or JSON for programs, on standard error. Never what memories say.

Everything goes one way: the service's own events by structlog, and what libraries write to `logging` (uvicorn among
them), through the same steps. Three things are done to every event:

- The request's id is added, where a request is under way.
- An exception is told by its class and its frames, and by its text only where that text is our own: the text of any
  other exception may quote a memory.
- Line ends and control characters in values are escaped, so that what a caller chooses cannot forge a line.
"""

import logging
import sys
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Literal, TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from recollect.adapters.errors import StorageError
from recollect.embeddings.errors import EmbeddingError
from recollect.service.errors import ServiceError

VALUE_CHARACTERS_MAX = 2000
"""A longer value of a log field is cut."""

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_OWN_ERRORS = (ServiceError, StorageError, EmbeddingError, OSError)
_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
_encoder = msgspec.json.Encoder(enc_hook=repr)


class _Sink:
    """A stream that does not fail: a reader of the log that has gone must not take the service with it.

    What cannot be written is lost, and there is no other place to say so.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):  # a pipe without a reader, a full disk; a closed stream
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            return

    def isatty(self) -> bool:
        return self._stream.isatty()


def configure_logs(
    level: Literal["debug", "info", "warning", "error"] = "info",
    form: Literal["text", "json"] = "text",
    stream: TextIO | None = None,
) -> None:
    """Set up the logs of the whole process.

    Args:
        level: From which level on events are written.
        form: `text` is coloured where the stream is a terminal; `json` is an object a line.
        stream: Where to; standard error if not given.
    """
    target = _Sink(sys.stderr if stream is None else stream)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _tell_exception,
        _neutralise,
    ]
    render = _render_json if form == "json" else _text_renderer(colours=target.isatty())
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", target)),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(cast("TextIO", target))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries tell too much at "info"; the service says itself what an operator wants to know.
    root.setLevel(max(_LEVELS[level], logging.WARNING) if level != "debug" else logging.INFO)
    for name in ("httpx", "httpcore"):  # they tell whole addresses, and what they are asked for stands in these
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)  # the root's level counts, whatever this process set before
        logger.propagate = True


def describe_exception(error: BaseException) -> list[dict[str, Any]]:
    """Tell an exception and its causes, the outermost first, without any text that may quote a memory.

    Returns:
        One object each: `type`, `frames` ("file:line in function", the innermost last), and `message` where the
        exception is one of ours or the system's.
    """
    told: list[dict[str, Any]] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        item: dict[str, Any] = {"type": f"{type(current).__module__}.{type(current).__qualname__}"}
        if isinstance(current, _OWN_ERRORS):
            item["message"] = str(current)
        item["frames"] = _frames(current.__traceback__)
        told.append(item)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return told


def log_failure(event: str, error: BaseException, **fields: Any) -> None:
    """Log an error as `describe_exception` tells it, whichever way the program around has set up its logs."""
    structlog.get_logger("recollect").error(event, **fields, raised=describe_exception(error))


def _frames(trace: TracebackType | None) -> list[str]:
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(trace)]


def _tell_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace `exc_info` by what may be told of it."""
    given = event.pop("exc_info", None)
    if not given:
        return event
    error = given if isinstance(given, BaseException) else given[1] if isinstance(given, tuple) else sys.exc_info()[1]
    if error is not None:
        event["raised"] = describe_exception(error)
    return event


def _neutralise(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape line ends and control characters in all texts, however deep they stand."""
    return cast("EventDict", {key: value if key == "_record" else _neutral(value) for key, value in event.items()})


def _neutral(value: Any) -> Any:
    if isinstance(value, str):
        text = value if value.isprintable() else value.translate(_ESCAPED)
        return text if len(text) <= VALUE_CHARACTERS_MAX else text[:VALUE_CHARACTERS_MAX] + "…"
    if isinstance(value, dict):
        return {str(key): _neutral(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_neutral(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _neutral(str(value))


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return _encoder.encode(event).decode("utf-8", "replace")


def _text_renderer(*, colours: bool) -> Processor:
    """Return a renderer of one event as text, its exception indented below it."""
    console = structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=0)

    def render(logger: WrappedLogger, method: str, event: MutableMapping[str, Any]) -> str:
        raised = event.pop("raised", None)
        line = str(console(logger, method, event))
        if not raised:
            return line
        lines = [line]
        for item in raised:
            message = f": {item['message']}" if "message" in item else ""
            lines += [f"    {item['type']}{message}", *(f"        {frame}" for frame in item["frames"])]
        return "\n".join(lines)

    return render
