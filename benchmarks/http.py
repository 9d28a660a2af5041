"""What does HTTP add? Searching, writing, reading and streaming over the wire, against bare routes in the same run.

`python -m benchmarks.http [--data FOLDER]`. Servers are real processes; they and the client share the machine's cores,
so the client is a light one (see `benchmarks.http_load`). Figures are medians over rounds in which all systems take
turns; a ratio or a difference is the median of those of the rounds.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import uvloop
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.embedding import texts_of_about, words_of
from benchmarks.http_load import (
    BARE,
    SERVICE,
    Connection,
    Server,
    dechunked,
    latencies_ms,
    percentile,
    request_bytes,
    seconds_of_writers,
    serving,
)
from benchmarks.report import Report, median, ratio
from recollect.embeddings import EmbedderSettings, create_embedder
from recollect.service import NewMemory, Settings, create_memory_service
from recollect.service.answers import Remembered

DIMENSION = 384
MODEL = f"hash:{DIMENSION}"
"""Vectors are given, so no model is asked; this one costs nothing to load."""
SEARCHED = 6_000
WRITERS = 16
BATCH = 32


def main() -> None:
    """Measure, and write the report."""
    arguments = parse(sys.argv[1:])
    os.environ["HF_HUB_OFFLINE"] = "1"
    report = Report("http", "What does HTTP add to searching, writing, reading and streaming?")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        single_requests(report, place, arguments)
        stream_and_reads(report, place, arguments)
        writers(report, place, arguments)
    report.add_note("Client and server share the cores; the client is raw sockets with requests written out before.")
    report.add_note(
        "`decoded`: the client decodes each frame with the standard library's json, as a reader of rows does. "
        "`drained`: it throws the bytes away, which no reader of rows does: a bare route, which only copies what "
        "lies ready, is then bound by nothing but the copying. It is told for scale and has no goal."
    )
    report.add_note("The bare routes run in FastAPI or Starlette on uvicorn with uvloop and httptools, without logs.")
    report.add_note("The service logs a line a request into a file, as it does in operation.")
    report.write(lambda figure: draw(figure, report))


def parse(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        type=Path,
        help="folder with an items.jsonl whose lines have a `text`, such as the LoCoMo conversations; without it the "
        "texts are this repository's documents and history",
    )
    parser.add_argument("--cache", type=Path, help="folder of exported models")
    parser.add_argument("--rounds", type=int, default=7, help="how often all systems take their turn")
    parser.add_argument("--requests", type=int, default=200, help="requests a round")
    parser.add_argument("--memories", type=int, default=100_000, help="memories in the large store")
    parser.add_argument("--texts", type=int, default=1_500, help="texts that the writers write a round")
    return parser.parse_args(words)


def vectors_of(count: int, seed: int) -> NDArray[np.float32]:
    """Return random vectors, shape (count, dimension)."""
    return np.random.default_rng(seed).standard_normal((count, DIMENSION), dtype=np.float32)


async def fill(storage: str, count: int) -> list[str]:
    """Store memories with vectors, without HTTP; return their ids."""
    rows = vectors_of(count, seed=1)
    ids: list[str] = []
    async with await create_memory_service(Settings(storage=storage, model=MODEL)) as service:
        for start in range(0, count, 1000):
            batch = [
                NewMemory(
                    content=f"Memory number {i}: the night train on platform {i % 97} is {i % 60} minutes late.",
                    tags=["train", f"platform-{i % 97}"],
                    vector=rows[i].tolist(),
                )
                for i in range(start, min(start + 1000, count))
            ]
            ids += [done.id for done in await service.remember_many(batch) if isinstance(done, Remembered)]
    return ids


def settings(storage: Path, **others: str | int) -> str:
    """Return a server's settings as JSON."""
    return json.dumps({"storage": f"file:{storage}", "model": MODEL, "port": 0, **others})


def single_requests(report: Report, place: Path, arguments: argparse.Namespace) -> None:
    """Measure a search and a durable write with the vector given, against an empty route."""
    asyncio.run(fill(f"file:{place / 'searched'}", SEARCHED))
    asyncio.run(fill(f"file:{place / 'written'}", SEARCHED))
    rounds, count = arguments.rounds, arguments.requests
    rows = vectors_of((rounds + 1) * count, seed=2).tolist()
    empty = request_bytes("POST", "/empty", b'{"text": "nothing"}')
    searches = [request_bytes("POST", "/v1/search", json.dumps({"vector": row}).encode()) for row in rows]
    writes = [
        request_bytes("POST", "/v1/memories", json.dumps({"content": f"written {i}", "vector": row}).encode())
        for i, row in enumerate(rows)
    ]
    times: dict[str, list[list[float]]] = {"empty route": [], "search": [], "remember": []}
    log = place / "log"
    with (
        serving(BARE, "none", log) as bare,
        serving(SERVICE, settings(place / "searched"), log) as searched,
        serving(SERVICE, settings(place / "written"), log) as written,
    ):
        for number in range(rounds + 1):
            turn = slice(number * count, (number + 1) * count)
            for name, server, requests in (
                ("empty route", bare, [empty] * count),
                ("search", searched, searches[turn]),
                ("remember", written, writes[turn]),
            ):
                measured = latencies_ms(server.port, requests)
                if number:  # the first round warms up
                    times[name].append(measured)
    halves = {name: [percentile(times_of, 0.5) for times_of in turns] for name, turns in times.items()}
    for name, what in (("empty route", ""), ("search", f", {SEARCHED} memories"), ("remember", ", durable")):
        p95 = median(percentile(times_of, 0.95) for times_of in times[name])
        added = median(a - b for a, b in zip(halves[name], halves["empty route"], strict=True))
        report.add_row(what=name + what, p50_ms=median(halves[name]), p95_ms=p95, p50_ms_over_empty=added)
        if name != "empty route":
            report.add_goal(
                f"{name}{what}: p50 over the empty route, ms", added, at_most=1.0 if name == "search" else 1.5
            )


def stream_and_reads(report: Report, place: Path, arguments: argparse.Namespace) -> None:
    """Measure reads by id, and streams of all hits, at many memories."""
    ids = asyncio.run(fill(f"file:{place / 'large'}", arguments.memories))
    with serving(SERVICE, settings(place / "large"), place / "log") as service:
        reads(report, service, ids, arguments)
        for hits_a_frame in (64, 1000):
            stream(report, service, place, hits_a_frame, arguments.rounds)


def stream(report: Report, service: Server, place: Path, hits_a_frame: int, rounds: int) -> None:
    """Measure a stream of all hits against the same bytes, in the same frames, from a bare route."""
    query = {"vector": vectors_of(1, seed=3)[0].tolist(), "limit": None, "batch_size": hits_a_frame}
    asked = request_bytes("POST", "/v1/find_similar", json.dumps(query).encode())
    few = request_bytes("POST", "/v1/find_similar", json.dumps({**query, "limit": 10}).encode())
    for _ in range(3):  # what a search maps into memory is there before the stream that is watched
        Connection(service.port).drain(few)
    kept = bytearray()
    with service.watched() as seen:
        Connection(service.port).drain(asked, kept)
    grown_mb = (max(seen) - seen[0]) / 2**20
    recorded = place / "frames"
    recorded.write_bytes(dechunked(bytes(kept)))
    hits = json.loads(recorded.read_bytes().splitlines()[-1])["hits"]
    with serving(BARE, str(recorded), place / "log") as bare:
        plain = request_bytes("POST", "/stream", b"{}")
        speeds = {
            how: [(rows_per_s(service, asked, hits, how), rows_per_s(bare, plain, hits, how)) for _ in range(rounds)]
            for how in ("decoded", "drained")
        }
    for how, turns in speeds.items():
        share = ratio([turn[0] for turn in turns], [turn[1] for turn in turns])
        what = f"stream of {hits} hits, {hits_a_frame} a frame, {how}"
        report.add_row(what=what, rows_per_s=median(t[0] for t in turns), of_bare=share, rss_growth_mb=grown_mb)
        report.add_row(what=f"the same frames from a bare route, {how}", rows_per_s=median(t[1] for t in turns))
        if how == "decoded":
            report.add_goal(f"{what}: rows per second of a bare stream", share, at_least=0.5)
            report.add_goal(f"{what}: growth of resident memory, MB", grown_mb, at_most=32)


def rows_per_s(server: Server, request: bytes, hits: int, how: str) -> float:
    """Read a whole stream and return its speed: each frame decoded, or the bytes drained and thrown away."""
    connection = Connection(server.port)
    started = time.perf_counter()
    if how == "decoded":
        rows = connection.read_rows(request)
        if rows != hits:
            raise SystemExit(f"the stream held {rows} hits, not {hits}")
    else:
        connection.drain(request)
    elapsed = time.perf_counter() - started
    connection.close()
    return hits / elapsed


def reads(report: Report, service: Server, ids: Sequence[str], arguments: argparse.Namespace) -> None:
    """Measure reads of random memories, as summary and in full."""
    chosen = np.random.default_rng(4)
    for view, goal_ms in (("summary", 4.0), ("full", 6.0)):
        turns = []
        for number in range(arguments.rounds + 1):
            picked = chosen.choice(len(ids), arguments.requests)
            requests = [request_bytes("GET", f"/v1/memories/{ids[i]}?view={view}") for i in picked]
            measured = latencies_ms(service.port, requests)
            if number:
                turns.append(measured)
        p95 = median(percentile(times, 0.95) for times in turns)
        report.add_row(what=f"get {view}, {len(ids)} memories", p50_ms=median(median(t) for t in turns), p95_ms=p95)
        report.add_goal(f"get {view}, {len(ids)} memories: p95, ms", p95, at_most=goal_ms)


def writers(report: Report, place: Path, arguments: argparse.Namespace) -> None:
    """Measure durable writes with their embedding by many writers, against the bare embedder on the same texts."""
    if arguments.data:
        lines = (arguments.data / "items.jsonl").read_text(encoding="utf-8").splitlines()
        texts, source = [json.loads(line)["text"] for line in lines[: arguments.texts]], f"of {arguments.data.name}"
    else:
        texts, source = texts_of_about(words_of(None), 20, arguments.texts), "of about 20 tokens of this repository"
    report.add_note(f"The writers write {len(texts)} texts {source}, each round into another namespace.")
    options = {"cache_folder": str(arguments.cache)} if arguments.cache else {}
    speeds: dict[str, list[float]] = {name: [] for name in ("one", "batch", "bare one", "bare batch")}
    with serving(SERVICE, settings(place / "writers", model="all-MiniLM-L6-v2", **options), place / "log") as service:
        for number in range(arguments.rounds + 1):
            turn = one_turn(service, texts, f"round-{number}", arguments.cache)
            if number:  # the first round warms up
                for name, speed in turn.items():
                    speeds[name].append(speed)
    for name, what in (("one", "one memory a request"), ("batch", f"{BATCH} memories a request")):
        share = ratio(speeds[name], speeds[f"bare {name}"])
        report.add_row(what=f"{WRITERS} writers, {what}", rows_per_s=median(speeds[name]), of_bare=share)
        report.add_row(
            what=f"bare embedder, {what.replace('request', 'call')}", rows_per_s=median(speeds[f"bare {name}"])
        )
        report.add_goal(f"{WRITERS} writers, {what}: throughput of the bare embedder", share, at_least=0.85)


def one_turn(service: Server, texts: Sequence[str], namespace: str, cache: Path | None) -> dict[str, float]:
    """Let both ways write all texts once; return texts per second of each."""
    ones = [
        request_bytes("POST", "/v1/memories", json.dumps({"content": text, "namespace": namespace}).encode())
        for text in texts
    ]
    chunks = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
    batches = [
        request_bytes(
            "POST",
            "/v1/memories/batch",
            json.dumps({"memories": [{"content": text, "namespace": f"{namespace}-b"} for text in chunk]}).encode(),
        )
        for chunk in chunks
    ]
    bare_one, bare_batch = uvloop.run(bare_seconds([[[text] for text in texts], chunks], cache))
    one, batch = (seconds_of_writers(service.port, requests, WRITERS) for requests in (ones, batches))
    return {name: len(texts) / s for name, s in zip(
        ("one", "batch", "bare one", "bare batch"), (one, batch, bare_one, bare_batch), strict=True
    )}  # fmt: skip


async def bare_seconds(jobs: Sequence[Sequence[Sequence[str]]], cache: Path | None) -> list[float]:
    """Embed lists of texts by concurrent callers, without any service; return how long each job took."""
    embedder = create_embedder(EmbedderSettings(cache_folder=cache))
    await embedder.embed_documents(["warm up"])
    seconds = []
    for job in jobs:
        waiting = iter(job)

        async def caller(waiting: object = waiting) -> None:
            for texts in waiting:  # type: ignore[attr-defined] # an iterator that the callers share
                await embedder.embed_documents(texts)

        started = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(WRITERS)))
        seconds.append(time.perf_counter() - started)
    await embedder.aclose()
    return seconds


def draw(figure: Figure, report: Report) -> None:
    """Draw times on the left and shares of the bare systems on the right."""
    left, right = figure.subplots(1, 2)
    timed = [row for row in report.rows if "p95_ms" in row]
    names = [str(row["what"]) for row in timed]
    left.barh(names, [float(row["p95_ms"]) for row in timed], color="#c9d7e8", label="p95")
    left.barh(names, [float(row["p50_ms"]) for row in timed], color="#3b6ea5", label="p50", height=0.5)
    left.set_xlabel("milliseconds")
    left.legend()
    shares = [row for row in report.rows if "of_bare" in row]
    right.barh([str(row["what"]) for row in shares], [float(row["of_bare"]) for row in shares], color="#3b6ea5")
    right.axvline(1, color="black", linewidth=0.8)
    right.set_xlabel("share of the bare system's throughput")


if __name__ == "__main__":
    main()
