"""Logs: one way for everything, nothing that memories say, no line that a caller could forge."""

import io
import json
import logging
from typing import Any

import pytest
import structlog

from recollect.adapters.errors import StoreDamagedError
from recollect.service.logs import VALUE_CHARACTERS_MAX, configure_logs, describe_exception, log_failure


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_events_and_the_lines_of_libraries_come_out_as_json_alike(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # as a program may have done before
    configure_logs("info", "json", stream)

    structlog.get_logger("recollect").info("stored", count=3)
    logging.getLogger("uvicorn.error").warning("Invalid %s request", "HTTP")

    own, foreign = events(stream)
    assert (own["event"], own["count"], own["level"]) == ("stored", 3, "info")
    assert (foreign["event"], foreign["level"]) == ("Invalid HTTP request", "warning")
    assert own.keys() - {"count"} == foreign.keys()


def test_an_event_below_the_level_is_left_out(stream: io.StringIO) -> None:
    configure_logs("warning", "json", stream)

    structlog.get_logger("recollect").info("quiet")
    logging.getLogger("uvicorn.error").info("Started server process")

    assert stream.getvalue() == ""


class Gone(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, text: str) -> int:
        del text
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_reader_of_the_log_that_has_gone_does_not_take_the_service_with_it(form: Any) -> None:
    configure_logs("info", form, Gone())

    structlog.get_logger("recollect").info("to nobody")
    logging.getLogger("uvicorn.error").warning("to nobody")


def test_text_that_is_no_terminal_is_plain(stream: io.StringIO) -> None:
    configure_logs("info", "text", stream)

    structlog.get_logger("recollect").info("ready", url="http://127.0.0.1:1")

    assert "\x1b" not in stream.getvalue()
    assert "url=http://127.0.0.1:1" in stream.getvalue()


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_value_cannot_forge_a_line_or_steer_a_terminal(stream: io.StringIO, form: Any) -> None:
    configure_logs("info", form, stream)

    structlog.get_logger("recollect").info("asked\nfor", value="a\r\nlevel=error\x1b[31m\u2028", deep={"k": ["x\ny"]})

    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert not any(character in text for character in "\r\x1b\u2028")


def test_a_long_value_is_cut(stream: io.StringIO) -> None:
    configure_logs("info", "json", stream)

    structlog.get_logger("recollect").info("asked", value="x" * 1_000_000)

    assert len(events(stream)[0]["value"]) == VALUE_CHARACTERS_MAX + 1


def test_a_value_of_any_type_is_told(stream: io.StringIO) -> None:
    configure_logs("info", "json", stream)

    structlog.get_logger("recollect").info("asked", path=object, number=1.5, nothing=None, many=(1, "b"))

    (event,) = events(stream)
    assert (event["number"], event["nothing"], event["many"]) == (1.5, None, [1, "b"])


def _fail() -> None:
    known: dict[str, int] = {}
    try:
        known["the treasure is buried"] += 1
    except KeyError as error:
        raise StoreDamagedError("a checksum differs", place="pack 7") from error


def test_an_exception_is_told_by_classes_and_frames_and_by_its_text_only_where_it_is_ours() -> None:
    with pytest.raises(StoreDamagedError) as caught:
        _fail()

    outer, inner = describe_exception(caught.value)

    assert outer["message"] == "a checksum differs"
    assert outer["frames"][-1].endswith("in _fail")
    assert inner["type"] == "builtins.KeyError"
    assert "message" not in inner


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_log_line_of_an_exception_holds_what_memories_say(stream: io.StringIO, form: Any) -> None:
    configure_logs("debug", form, stream)

    try:
        _fail()
    except StoreDamagedError as error:
        log_failure("failed", error)
        structlog.get_logger("recollect").exception("failed")
        logging.getLogger("some.library").exception("failed")

    assert stream.getvalue().count("StoreDamagedError") == 3
    assert stream.getvalue().count("in _fail") == 6
    assert "treasure" not in stream.getvalue()


def test_a_program_that_has_set_up_no_logs_is_not_shown_what_memories_say(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    del stream
    structlog.reset_defaults()

    try:
        _fail()
    except StoreDamagedError as error:
        log_failure("failed", error)

    told = capsys.readouterr()
    assert "StoreDamagedError" in told.out + told.err
    assert "treasure" not in told.out + told.err
