"""Talking with the server: deadlines, retries, other nodes, the breaker, and the server's errors in the store's words.

Every call that the adapter makes may be made twice without harm: reads, of course, and the writes because of how a
commit is written (see `commits`). So a call whose answer is lost is simply made again, until its time is up.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import grpc
import httpx
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from recollect.adapters.errors import InvalidRequestError, StorageError, StoreFullError, StoreUnavailableError
from recollect.adapters.qdrant.server.address import ServerAddress
from recollect.adapters.qdrant.server.breaker import Breaker

PAUSE_MIN_S = 0.05
PAUSE_MAX_S = 1.0
READY_LIMIT_S = 1.0
GRPC_OPTIONS: Final = {
    # A connection of its own for each adapter, which a fault of another one does not touch.
    "grpc.use_local_subchannel_pool": 1,
    # Back within a second once the server is there again; the default waits up to two minutes.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,
    # Finds out within half a minute that the other side is gone without a word.
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 10_000,
}
_FULL = ("no space left", "disk is full", "out of disk", "not enough space")
_T = TypeVar("_T")


class MissingError(StoreUnavailableError):
    """The server does not know the collection."""


class OutdatedError(Exception):
    """A node answered, and what it answered was overtaken; another try, or another node, knows better."""


class Connection:
    """One adapter's way to the nodes of a server.

    Attributes:
        address: The server's.
        name: The collection's.
        head_consistency: How many copies must agree on the head.
        ordering: Through which copy writes go; None where there is only one.
        applied: Up to where commits are written to their points, as far as any node has said.
        windowed: Whether a version up to there may have several rows.
    """

    def __init__(self, address: ServerAddress) -> None:
        """Make clients for all nodes; nothing is sent yet. It belongs to the event loop that runs."""
        self.address = address
        self.name = address.collection
        self._breaker = Breaker(f"the server at {address}")
        self._clients = [_client(address, at) for at in range(len(address.nodes))]
        self._current = 0
        self.head_consistency: models.ReadConsistencyType | None = None
        self.ordering: models.WriteOrdering | None = None
        self.applied = 0
        self.windowed = True

    @property
    def note(self) -> str | None:
        """What is wrong with the server at the moment, if anything."""
        return self._breaker.note

    def expect_replicas(self, replicas: int) -> None:
        """Read and write as a collection of so many copies needs it.

        All writes go through one copy, the same for all as long as it lives, so that every copy compares and writes in
        the same order. The server acknowledges a write when all copies have it that it does not count as dead; so any
        one that it reads from has everything. With three or more, most of them must agree on the head besides: a node
        that was cut off and does not know it yet cannot be most of them.
        """
        if replicas > 1:
            self.ordering = models.WriteOrdering.MEDIUM
        if replicas > 2:  # noqa: PLR2004 - with two, most of them are both, and neither could be missing
            self.head_consistency = models.ReadConsistencyType.QUORUM

    def note_applied(self, position: int, *, windowed: bool) -> None:
        """Take note of up to where commits are written, and whether a version up to there may have several rows."""
        if position >= self.applied:
            self.applied, self.windowed = position, windowed

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.close()

    async def call(
        self, what: str, ask: Callable[[AsyncQdrantClient], Awaitable[_T]], *, patience_s: float | None = None
    ) -> _T:
        """Ask the server, again and at other nodes where there is no answer, until the time is up.

        Args:
            what: What is being done, for the message.
            ask: Makes the call; it may be made more than once.
            patience_s: How long to try in all; the address' `timeout_s` if not given.

        Raises:
            StoreUnavailableError: No answer came in time, or the breaker is open.
            StoreFullError: The server has no space left.
        """
        self._breaker.pass_or_refuse()
        loop = asyncio.get_running_loop()
        timeout_s = self.address.timeout_s
        until = loop.time() + (timeout_s if patience_s is None else patience_s)
        pause_s = PAUSE_MIN_S
        while True:
            node = self._current
            # With other nodes to ask, a node that hangs must leave time for them.
            attempt_s = max(min(timeout_s / len(self._clients), until - loop.time()), 0.01)
            try:
                async with asyncio.timeout(attempt_s):
                    answer = await ask(self._clients[node])
            except TimeoutError as error:
                problem: Exception = error
                reason = f"no answer within {attempt_s:.1f} s"
            except Exception as error:  # noqa: BLE001 - whatever the client raises becomes a StorageError
                problem, reason = error, _reason(error)
                self._raise_what_is_final(what, error, reason)
            else:
                self._breaker.succeeded()
                return answer
            await self._turn_from(node)
            if loop.time() + pause_s >= until:
                self._breaker.failed(reason)
                raise StoreUnavailableError(
                    f"{what}: the server at {self.address.nodes[node]} does not answer ({reason}); see whether it runs"
                ) from problem
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause_s = min(PAUSE_MAX_S, 2 * pause_s)

    async def _turn_from(self, node: int) -> None:
        """Ask another node from now on: the next one that is ready, or the next one if none is.

        A node that has just come back answers before it knows what happened meanwhile, and is not ready until then.
        """
        others = [(node + step) % len(self._clients) for step in range(1, len(self._clients))]
        for other in others:
            if self._current != node:
                return  # Another call has found one.
            if await self._is_ready(other):
                self._current = other
                return
        if others and self._current == node:
            self._current = others[0]

    async def _is_ready(self, at: int) -> bool:
        node = self.address.nodes[at]
        url = f"{'https' if self.address.tls else 'http'}://{node}/readyz"
        try:
            async with httpx.AsyncClient(timeout=READY_LIMIT_S) as client:
                return (await client.get(url)).is_success
        except httpx.HTTPError:
            return False

    def _raise_what_is_final(self, what: str, error: Exception, reason: str) -> None:
        """Raise what no other try would change."""
        if isinstance(error, StorageError):
            raise error
        if isinstance(error, UnicodeEncodeError):
            raise InvalidRequestError(f"{what}: a text holds half a surrogate pair, which is no UTF-8") from error
        code = _code(error)
        if any(words in reason.lower() for words in _FULL):
            raise StoreFullError(f"{what}: the server has no space left; free some, or add a node") from error
        if code in _REFUSED:
            raise StoreUnavailableError(
                f"{what}: the server at {self.address} refuses the API key; set RECOLLECT_QDRANT_API_KEY"
            ) from error
        if code in _UNKNOWN:
            raise MissingError(f"{what}: the server does not know the collection {self.name!r}") from error
        if code in _WRONG:
            raise InvalidRequestError(f"{what}: the server refuses the request: {reason:.300}") from error
        if code is None:
            raise error  # nothing that a server or a network does


def _client(address: ServerAddress, at: int) -> AsyncQdrantClient:
    node = address.nodes[at]
    return AsyncQdrantClient(
        host=node.host,
        port=node.http_port,
        grpc_port=node.grpc_port,
        prefer_grpc=address.grpc,
        https=address.tls,
        # As a header, so that the client does not warn of what the status notes already say.
        headers={"api-key": address.api_key} if address.api_key else None,
        timeout=max(1, round(address.timeout_s)),
        grpc_options=dict(GRPC_OPTIONS),
        pool_size=1 if address.grpc else None,
        check_compatibility=False,
    )


# --- What the client raises ------------------------------------------------------------------------------------------

_CODES = grpc.StatusCode
_REFUSED = {_CODES.UNAUTHENTICATED, _CODES.PERMISSION_DENIED, 401, 403}
_UNKNOWN = {_CODES.NOT_FOUND, 404}
_WRONG = {_CODES.INVALID_ARGUMENT, _CODES.ALREADY_EXISTS, _CODES.UNIMPLEMENTED, 400, 409, 413, 422}


def _code(error: Exception) -> Any:
    """Return the status that the server or the network gave; None for what came from neither."""
    match error:
        case grpc.aio.AioRpcError():
            return error.code()
        case UnexpectedResponse():
            return error.status_code
        case ResponseHandlingException() | ResourceExhaustedResponse() | httpx.HTTPError() | grpc.RpcError():
            return "unreachable"
        case OutdatedError() | OSError() | grpc.aio.UsageError():
            return "unreachable"
        case _:
            return None


def _reason(error: Exception) -> str:
    match error:
        case grpc.aio.AioRpcError():
            return f"{error.code().name}: {error.details()}"[:500]
        case UnexpectedResponse():
            return f"HTTP {error.status_code}: {error.content.decode(errors='replace')}"[:500]
        case _:
            return (str(error) or type(error).__name__)[:500]
