"""The running server: a port, a service, and a clean end.

In this order: the port is taken (so that a taken one is told before the model is loaded), the model is loaded and the
store opened, and only then the port listens. On SIGTERM or SIGINT the server stops accepting, finishes what runs,
flushes, and exits with 0; a second signal exits at once. What was acknowledged is durable in any case.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import structlog
import uvicorn
import uvloop

from recollect.adapters.errors import StorageError
from recollect.embeddings.errors import EmbeddingError
from recollect.service.errors import ServiceError
from recollect.service.http.app import create_app
from recollect.service.http.protocol import Protocol
from recollect.service.logs import configure_logs, log_failure
from recollect.service.memory_service import MemoryService, create_memory_service
from recollect.service.settings import Settings

logger = structlog.get_logger("recollect")

EXIT_STOPPED = 0
EXIT_FAILED = 1
KEEP_ALIVE_S = 60
BACKLOG = 1024
REQUESTS_SHARE = 0.8
"""The share of the time to stop that running requests get; the flush gets the rest."""

_T = TypeVar("_T")


class StartError(Exception):
    """The server cannot start; the message says why, and what to do."""


def run(settings: Settings, *, announce: Callable[[str], None] | None = None) -> int:
    """Run the service until it is told to stop, on a loop of its own; see `serve`."""
    configure_logs(settings.log_level, settings.log_format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(settings, announce=announce))


async def serve(settings: Settings, *, announce: Callable[[str], None] | None = None) -> int:
    """Run the service until SIGTERM or SIGINT.

    Args:
        settings: What to do how.
        announce: Called with the service's URL once it listens; it is printed if not given.

    Returns:
        0 after a clean stop; 1 if it could not start (standard error says why) or not stop in time.
    """
    stopping = _Stopping(settings.shutdown_s)
    with stopping.on_signals():
        try:
            listener = bind(settings.host, settings.port)
        except StartError as error:
            return _failed(error)
        with listener:
            try:
                service = await stopping.unless_stopped(create_memory_service(settings))
            except (StorageError, EmbeddingError, ServiceError, ValueError, OSError) as error:
                return _failed(error)
            if service is None:
                return EXIT_STOPPED
            try:
                served = await _listen(settings, service, listener, stopping, announce or _print_url)
            finally:
                closed = await _close(service, settings.shutdown_s * (1 - REQUESTS_SHARE))
    logger.info("stopped")
    return EXIT_STOPPED if served and closed else EXIT_FAILED


def bind(host: str, port: int) -> socket.socket:
    """Take a port, without listening on it yet.

    Raises:
        StartError: The address is unknown, or the port taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise StartError(f"the address {host!r} is not known ({error}); set host to one of this machine's") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Told apart now, and not after the model was loaded: another server may have the port without listening yet.
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise StartError(
            f"port {port} on {host} cannot be taken ({os.strerror(error.errno or 0)}); another service may run there: "
            "stop it, or choose another port with --port or RECOLLECT_PORT"
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL that a listening socket is reached under."""
    host, port = listener.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"


class _Server(uvicorn.Server):
    """Uvicorn, whose signals and last words are ours."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `_Stopping`: uvicorn would raise them anew at its end, and the exit would not be 0."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_ready()


async def _listen(
    settings: Settings,
    service: MemoryService,
    listener: socket.socket,
    stopping: "_Stopping",
    announce: Callable[[str], None],
) -> bool:
    """Serve until told to stop; return whether the port could be listened on."""
    config = uvicorn.Config(
        create_app(settings, service=service),
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    # The type says whole seconds, but the value goes to asyncio.wait_for, which takes fractions.
    config.timeout_graceful_shutdown = settings.shutdown_s * REQUESTS_SHARE  # type: ignore[assignment]

    def ready() -> None:
        # What was loaded to get here stays: left out, it is not walked by every full collection of garbage, which
        # would stop all requests for tens of milliseconds.
        gc.collect()
        gc.freeze()
        logger.info("ready", url=url_of(listener), storage=settings.storage, model=settings.model)
        announce(url_of(listener))

    server = _Server(config, ready)
    stopping.call(lambda: setattr(server, "should_exit", True))
    try:
        await server.serve(sockets=[listener])
    except OSError as error:
        _failed(StartError(f"port {settings.port} on {settings.host} cannot be listened on: {error.strerror}"))
        return False
    return True


async def _close(service: MemoryService, within_s: float) -> bool:
    """Flush and close; return whether that was done in time."""
    try:
        async with asyncio.timeout(within_s):
            await service.save_all()
            await service.close()
    except TimeoutError as error:
        log_failure("flush took too long", error, within_s=within_s)
        return False
    except (StorageError, EmbeddingError) as error:
        log_failure("closing failed", error)
        return False
    return True


class _Stopping:
    """What SIGTERM and SIGINT do: the first ends the service in time, the second at once."""

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._told = asyncio.Event()
        self._then: Callable[[], None] | None = None

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread hears signals; a program that serves from another stops by itself
            return
        for number in signals:
            loop.add_signal_handler(number, self._signalled, number)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    def call(self, then: Callable[[], None]) -> None:
        """Have something called when the service is told to stop, at once if it was told already."""
        self._then = then
        if self._told.is_set():
            then()

    async def unless_stopped(self, work: Awaitable[_T]) -> _T | None:
        """Return what some work comes to, or None if the service is told to stop meanwhile."""
        task = asyncio.ensure_future(work)
        told = asyncio.ensure_future(self._told.wait())
        try:
            await asyncio.wait((task, told), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            return None
        finally:
            told.cancel()

    def _signalled(self, number: int) -> None:
        if self._told.is_set():
            logger.warning("stopping at once", signal=signal.Signals(number).name)
            os._exit(128 + number)
        logger.info("stopping", signal=signal.Signals(number).name)
        # A thread that does not come back (a model, a disk) must not hold the process: this ends it even then.
        watchdog = threading.Timer(self._within_s + 0.5, self._give_up)
        watchdog.daemon = True
        watchdog.start()
        self.stop()

    def stop(self) -> None:
        """Tell the service to stop, as the first signal does."""
        self._told.set()
        if self._then is not None:
            self._then()

    def _give_up(self) -> None:
        logger.error("stopping took too long", within_s=self._within_s)
        os._exit(EXIT_FAILED)


def _print_url(url: str) -> None:
    sys.stdout.write(f"Recollect listens on {url}\n")
    sys.stdout.flush()


def _failed(error: Exception) -> int:
    sys.stderr.write(f"Recollect cannot start: {error}\n")
    return EXIT_FAILED
