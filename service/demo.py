"""The demonstration: this repository remembered and recalled through a service of its own.

    make demo

A temporary store, `recollect serve` as a process on a free port, the git history and the documents of the repository
imported over HTTP, three recalls streamed back with where each hit came from, and a clean stop. It fails when a recall
finds nothing.
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import typer
from rich.text import Text

from recollect.service.answers import Hit, HitsFrame, Memory, Problem, ProvenanceRecord
from recollect.service.cli.command import end
from recollect.service.cli.exits import CommandError
from recollect.service.cli.printing import Output, clock, one_line
from recollect.service.cli.progress import progress_bar
from recollect.service.cli.remote import RemoteBackend, open_remote
from recollect.service.cli.transfer import import_records
from recollect.service.importers import Importer, ImportOptions, open_importer
from recollect.service.requests import ReadOptions, SearchRequest

START_S = 60.0
"""How long the service may take to be ready: the first start converts the model."""
STOP_S = 15.0
HITS = 3

QUESTIONS = (
    "Where is what I store kept, and does it survive a crash?",
    "How do I find a memory by what it means?",
    "How do I set the port, and other settings?",
)


class DemonstrationError(CommandError):
    """The demonstration shows something else than it should."""

    def __init__(self, detail: str) -> None:
        title = "The demonstration failed"
        super().__init__(Problem(title=title, status=500, code="demonstration_failed", detail=detail))


async def demonstrate(repository: Path, output: Output) -> None:
    """Run the demonstration.

    Args:
        repository: A checkout with a git history, and with documents in README.md and docs/.
        output: Where to print.

    Raises:
        DemonstrationError: The service does not start or stop as it should, or a recall finds nothing.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="recollect-demo-") as folder:
        async with running_service(Path(folder)) as url, open_remote(url) as backend:
            output.people.print(Text(f"the service is ready at {url}", style="green"))
            for importer in importers(repository):
                with progress_bar(output, f"importing {importer.what}", importer.count()) as advance:
                    report = await import_records(backend, importer, advance)
                output.people.print(f"imported {importer.what}: {report.created} created, {report.duplicate} known")
                if report.refused:
                    raise DemonstrationError(f"{report.refused} records were refused: {report.problems[0].detail}")
            for question in QUESTIONS:
                await _recall(backend, question, output)
    output.people.print(Text(f"stopped cleanly after {time.monotonic() - began:.1f} s", style="green"))


def importers(repository: Path) -> Iterator[Importer]:
    """Give what there is to import of a repository: its history if it has one, and its documents."""
    if (repository / ".git").exists():
        yield open_importer(str(repository), "git", ImportOptions(namespace="projects", tags=("history",)))
    yield open_importer(str(repository), "markdown", ImportOptions(namespace="projects", tags=("documents",)))


@asynccontextmanager
async def running_service(folder: Path, *arguments: str) -> AsyncGenerator[str, None]:
    """Run `recollect serve` on a free port for the length of the block, and stop it by SIGTERM.

    Args:
        folder: Where its store and its log go.
        arguments: Further options of `serve`.

    Yields:
        Its URL.

    Raises:
        DemonstrationError: It does not start, or does not end with 0; its log says why.
    """
    with (folder / "service.log").open("w+b") as log, _process(folder, arguments, log.fileno()) as process:
        try:
            yield await _url(process)
            await _stopped(process)
        except DemonstrationError as error:
            log.seek(0)
            words = log.read().decode("utf-8", "replace")[-4000:]
            raise DemonstrationError(f"{error}\n{words}".strip()) from error


@contextmanager
def _process(folder: Path, arguments: Sequence[str], log: int) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "recollect.service.cli", "serve", "--storage", f"edge:{folder / 'store'}"]
    # The caller's own settings would point the service at the caller's own store.
    kept = ("RECOLLECT_MODEL", "RECOLLECT_CACHE_FOLDER")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RECOLLECT_") or key in kept}
    process = subprocess.Popen(  # noqa: S603 - this interpreter, with arguments of our own
        [*command, "--port", "0", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()  # a killed one would leave its engine writing for a moment
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


async def _url(process: "subprocess.Popen[bytes]") -> str:
    """Return the URL that a service says it listens on, once it does."""
    if process.stdout is None:
        raise DemonstrationError("the service says nothing")
    try:
        async with asyncio.timeout(START_S):
            line = await asyncio.to_thread(process.stdout.readline)
    except TimeoutError as error:
        process.kill()  # which ends the thread that reads
        raise DemonstrationError(f"the service was not ready within {START_S:.0f} s") from error
    url = line.decode().strip().rpartition(" ")[2]
    if not url:
        raise DemonstrationError(f"the service ended with {process.wait()} before it was ready")
    return url


async def _stopped(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        code = await asyncio.to_thread(process.wait, STOP_S)
    except subprocess.TimeoutExpired as error:
        raise DemonstrationError(f"the service was told to stop and still ran after {STOP_S:.0f} s") from error
    if code != 0:
        raise DemonstrationError(f"the service ended with {code} instead of 0")


async def _recall(backend: RemoteBackend, question: str, output: Output) -> None:
    output.people.print(Text(f"\n{question}", style="bold cyan"))
    search = SearchRequest(text=question, limit=HITS, include_provenance=True)
    found = 0
    async with aclosing(backend.find_similar(search)) as frames:
        async for frame in frames:
            if isinstance(frame, HitsFrame):
                for hit in frame.hits:
                    found += 1
                    output.hit(found, hit)
                    await _history(backend, hit, output)
    if not found:
        raise DemonstrationError(f"nothing was found for {question!r}")


async def _history(backend: RemoteBackend, hit: Hit, output: Output) -> None:
    answer = await backend.history(hit.id, ReadOptions(include_provenance=True))
    for memory in answer.items:
        output.people.print(Text(f"           {_said(memory)}", style="dim"))


def _said(memory: Memory) -> str:
    record = memory.provenance
    if not isinstance(record, ProvenanceRecord):
        return f"version {memory.version}"
    return one_line(f"version {memory.version}: {record.action} by {record.actor}, {clock(record.time)}")


def main() -> int:
    """Run the demonstration on the checkout in the current folder; 0 if it showed what it should."""
    try:
        end(lambda: asyncio.run(demonstrate(Path.cwd(), Output(as_json=False))), as_json=False)
    except typer.Exit as ended:
        return ended.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
