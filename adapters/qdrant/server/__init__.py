"""Memories on a Qdrant server or cluster: `qdrant://HOST[:PORT]/COLLECTION`, and `qdrants://` by TLS."""

from typing import TYPE_CHECKING

from recollect.adapters.errors import UnknownBackendError
from recollect.adapters.qdrant.server.address import parse_address

if TYPE_CHECKING:
    from recollect.adapters.qdrant.server.adapter import ServerAdapter

__all__ = ["from_url", "parse_address"]


def from_url(url: str) -> "ServerAdapter":
    """Return a closed adapter for a store's URL; see `address`.

    Raises:
        InvalidRequestError: The URL cannot be read.
        UnknownBackendError: The client of Qdrant is not installed.
    """
    address = parse_address(url)
    try:
        # Only here, since the client is an extra, and costs a second of start-up.
        from recollect.adapters.qdrant.server.adapter import ServerAdapter  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"qdrant_client", "grpc", "httpx"}:
            raise
        raise UnknownBackendError(
            'a store on a Qdrant server needs its client, which is not installed: pip install "recollect[qdrant]"'
        ) from error
    return ServerAdapter(address)
