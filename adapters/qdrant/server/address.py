"""The address of a store on a server: `qdrant://HOST[:PORT][,HOST[:PORT]...]/COLLECTION[?OPTIONS]`.

`qdrants://` is the same by TLS. Several hosts are nodes of one cluster: where one does not answer, the next is asked.
The API key stands in front of the hosts (`qdrants://KEY@host/name`) or, better, in the environment variable
`RECOLLECT_QDRANT_API_KEY`; no message, log line or status ever shows it.
"""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

from recollect.adapters.errors import InvalidRequestError

SCHEMES = ("qdrant", "qdrants")
API_KEY_VARIABLE = "RECOLLECT_QDRANT_API_KEY"
EXAMPLE = "qdrant://localhost:6333/memories"
HTTP_PORT = 6333
QUANTIZATIONS = ("none", "scalar", "binary")
_COLLECTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")


class Node(Struct, frozen=True):
    """One node of a server or cluster."""

    host: str
    http_port: int
    grpc_port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.http_port}"


class ServerAddress(Struct, frozen=True, kw_only=True):
    """Where a store lies, how it is talked with, and how its collection is made where it is not there yet.

    Attributes:
        nodes: Asked in turn, beginning with the one that answered last.
        collection: Its name on the server.
        tls: Whether to talk by TLS.
        api_key: None for a server that asks for none.
        grpc: Whether to talk gRPC, which is faster, or HTTP only, which passes more proxies.
        timeout_s: How long one call to the server may take.
        commit_timeout_s: How long a commit may take in all, retries included.
        shards: Over how many shards a new collection is spread.
        replicas: On how many nodes each shard of a new collection lies.
        write_consistency: How many replicas acknowledge a write before the server does.
        quantization: `none`, `scalar` or `binary` copies of the vectors, which save memory and cost recall.

    The last four are None where the URL does not say: a new collection then has the server's defaults, and one that is
    there may have any.
    """

    nodes: tuple[Node, ...]
    collection: str
    tls: bool = False
    api_key: str | None = None
    grpc: bool = True
    timeout_s: float = 10.0
    commit_timeout_s: float = 30.0
    shards: int | None = None
    replicas: int | None = None
    write_consistency: int | None = None
    quantization: str | None = None

    def __str__(self) -> str:
        """Return the address without the API key."""
        scheme = SCHEMES[self.tls]
        return f"{scheme}://{','.join(map(str, self.nodes))}/{self.collection}"

    def __repr__(self) -> str:
        return f"ServerAddress({self})"


def parse_address(url: str, environment: Mapping[str, str] = os.environ) -> ServerAddress:
    """Read a store's URL.

    Args:
        url: As the module describes it.
        environment: Where the API key is looked for when the URL has none.

    Raises:
        InvalidRequestError: Something in it is missing, unknown or malformed. The message does not show the key.
    """
    scheme, separator, _ = url.partition("://")
    if scheme not in SCHEMES or not separator:
        raise InvalidRequestError(f"a store on a server is named as {EXAMPLE}, not by the scheme {scheme!r:.40}")
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    options = _options(parts.query)
    grpc_port = options.pop("grpc_port", None)
    nodes = tuple(_node(text, grpc_port) for text in hosts.split(","))
    collection = unquote(parts.path.strip("/"))
    if not _COLLECTION.fullmatch(collection):
        raise InvalidRequestError(
            f"{collection!r:.80} is no name of a collection; give one of letters, digits, '-', '_' and '.', "
            f"as in {EXAMPLE}"
        )
    key = unquote(user.rpartition(":")[2]) if at else environment.get(API_KEY_VARIABLE, "")
    address = ServerAddress(nodes=nodes, collection=collection, tls=scheme == "qdrants", api_key=key or None, **options)
    if (address.write_consistency or 1) > (address.replicas or 1):
        raise InvalidRequestError("write_consistency is at most replicas: there are not more to acknowledge a write")
    return address


def _node(text: str, grpc_port: int | None) -> Node:
    found = re.fullmatch(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}))?", text)
    if found is None:
        raise InvalidRequestError(f"{text!r:.80} is no HOST[:PORT]; write a store's URL as {EXAMPLE}")
    http_port = int(found["port"] or HTTP_PORT)
    # Qdrant's own convention: gRPC listens on the next port.
    return Node(found["host"], http_port, http_port + 1 if grpc_port is None else grpc_port)


def _options(query: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in _READERS:
            known = ", ".join(sorted(_READERS))
            raise InvalidRequestError(f"{name!r:.40} is no option of a store on a server; there are {known}")
        try:
            options[name] = _READERS[name](text)
        except ValueError as error:
            raise InvalidRequestError(f"the option {name} cannot be {text!r:.40}: {error}") from error
    return options


def _whole_number(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65_535:  # noqa: PLR2004 - the largest port, far above any number of shards
        raise ValueError("it lies between 1 and 65535")
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.05 <= seconds <= 3_600:  # noqa: PLR2004 - an hour
        raise ValueError("it lies between 0.05 and 3600 seconds")
    return seconds


def _truth(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("it is true or false")
    return text == "true"


def _quantization(text: str) -> str:
    if text not in QUANTIZATIONS:
        raise ValueError(f"it is one of {', '.join(QUANTIZATIONS)}")
    return text


_READERS: dict[str, Callable[[str], Any]] = {
    "grpc": _truth,
    "grpc_port": _whole_number,
    "timeout_s": _seconds,
    "commit_timeout_s": _seconds,
    "shards": _whole_number,
    "replicas": _whole_number,
    "write_consistency": _whole_number,
    "quantization": _quantization,
}
