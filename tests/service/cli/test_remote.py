"""What a service, or something in its place, can do to a command."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from recollect.service.cli.remote import SILENCE_S

if TYPE_CHECKING:
    from tests.service.cli.conftest import Cli

HIT = {
    "id": "0198f0c2-a7d3-7c1e-9d5b-8f6a7e4c3b21", "version": 1, "score": 0.5, "namespace": "n", "key": None,
    "kind": "semantic", "summary": "found", "tags": [], "created_at": "2026-01-01T00:00:00Z",
}  # fmt: skip
HITS = {"frame": "hits", "hits": [HIT]}
END = {"frame": "end", "hits": 1, "elapsed_ms": 1.5}
PROBLEM = {"title": "The store is damaged", "status": 500, "code": "store_damaged", "detail": "page 7; run fsck"}

Answering = Callable[[bytes], "Cli"]


@pytest.fixture
def answering(cli_of: Callable[..., "Cli"]) -> Iterator[Answering]:
    """Commands against a server that says these bytes to one request, and leaves."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def answer(data: bytes) -> "Cli":
        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(SILENCE_S)
                request = b""
                while b"\r\n\r\n" not in request:
                    request += connection.recv(65_536)
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65_536):
                    pass

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return cli_of("--url", f"http://127.0.0.1:{listener.getsockname()[1]}")

    yield answer
    for thread in threads:
        thread.join(30)
    listener.close()


def chunked(*lines: dict[str, Any] | bytes, complete: bool = True) -> bytes:
    body = b"".join(
        b"%x\r\n%s\r\n" % (len(data), data)
        for data in (line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    )
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + body + (b"0\r\n\r\n" if complete else b"")


def whole(status: str, body: bytes, kind: str = "application/problem+json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_heartbeats_are_passed_over_by_people_and_passed_on_to_programs(answering: Answering) -> None:
    beat = {"frame": "heartbeat"}

    assert "found" in answering(chunked(beat, HITS, beat, END)).run("recall", "x").stdout
    frames = answering(chunked(beat, HITS, beat, END)).lines("recall", "x")
    assert [frame["frame"] for frame in frames] == ["heartbeat", "hits", "heartbeat", "end"]
    assert frames[1]["hits"] == [HIT]


def test_a_stream_without_its_end_is_told_as_cut(answering: Answering) -> None:
    result = answering(chunked(HITS)).run("recall", "x", exit_code=6)

    assert "found" in result.stdout
    assert "ended after 1 hits without its end frame" in result.stderr


def test_a_connection_that_breaks_is_told(answering: Answering) -> None:
    result = answering(chunked(HITS, complete=False)).run("recall", "x", exit_code=6)

    assert "found" in result.stdout
    assert "broke" in result.stderr


def test_an_error_frame_ends_a_recall_with_the_code_of_its_problem(answering: Answering) -> None:
    result = answering(chunked(HITS, {"frame": "error", "error": PROBLEM})).run("recall", "x", exit_code=5)

    assert "found" in result.stdout
    assert "page 7; run fsck" in result.stderr


def test_an_export_that_stops_in_a_line_is_told_and_gives_no_half_line(answering: Answering) -> None:
    result = answering(chunked(b'{"content": "a"}\n{"cont')).run("export", "--branch", "other", exit_code=6)

    assert result.stdout == '{"content": "a"}\n'
    assert "stopped in the middle of a line" in result.stderr


def test_an_export_over_a_connection_that_breaks_is_told(answering: Answering) -> None:
    result = answering(chunked(b'{"content": "a"}\n', complete=False)).run("export", "--branch", "other", exit_code=6)

    assert "broke" in result.stderr


@pytest.mark.parametrize(
    ("answer", "exit_code", "told"),
    [
        (whole("500 Internal Server Error", json.dumps(PROBLEM).encode()), 5, "page 7; run fsck"),
        (whole("502 Bad Gateway", b"<html>proxy</html>", "text/html"), 6, "502 Bad Gateway: <html>proxy</html>"),
        (whole("503 Service Unavailable", b"", "text/html"), 6, "503"),
        (whole("200 OK", b"<html>login</html>", "text/html"), 6, "what came back cannot be read"),
        (whole("200 OK", b'{"other": 1}', "application/json"), 6, "what came back cannot be read"),
        (b"", 6, "broke"),
        (b"SSH-2.0-OpenSSH\r\n", 6, "broke"),
    ],
)
def test_whatever_answers_is_told_in_one_paragraph(
    answering: Answering, answer: bytes, exit_code: int, told: str
) -> None:
    result = answering(answer).run("status", exit_code=exit_code)

    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1
