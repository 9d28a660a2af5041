"""The collection of a store: how it is made, and whether one that is there will do. It is never altered."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from qdrant_client import models

from recollect.adapters.errors import (
    InvalidRequestError,
    ProfileMismatchError,
    StoreDamagedError,
    StoreUnavailableError,
)
from recollect.adapters.port import StoreProfile
from recollect.adapters.qdrant.fields import DENSE, TERMS, WINDOWS
from recollect.adapters.qdrant.server import heads
from recollect.adapters.qdrant.server.address import ServerAddress
from recollect.adapters.qdrant.server.connection import Connection, MissingError
from recollect.adapters.qdrant.server.selecting import INDEXES

FORMAT = 1
CREATE_PATIENCE_S = 60.0
VERSION_MIN = (1, 16)
"""The first server that upserts under a condition, on which every commit rests."""

_QUANTIZATION: Mapping[str, Any] = {
    "scalar": models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
    ),
    "binary": models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True)),
}


async def prepare(connection: Connection, profile: StoreProfile | None) -> StoreProfile:
    """Make the store's collection, or see that the one that is there will do; and say which profile it holds.

    Args:
        connection: To the server.
        profile: What the caller will use; None takes what is there.

    Raises:
        StoreUnavailableError: There is none and no profile was given, the server is too old, or the collection is not
            as the URL says. It is not altered.
        ProfileMismatchError: It holds vectors of another model or dimension.
    """
    await _check_server(connection)
    info = await _info(connection)
    if info is None:
        if profile is None:
            raise StoreUnavailableError(f"there is no store at {connection.address} yet; give a profile to create one")
        await _create(connection, profile.dimension)
        info = await _info(connection)
        assert info is not None  # noqa: S101 - it was made just now
    connection.expect_replicas(info.config.params.replication_factor or 1)
    held = await _read_profile(connection)
    if held is None:
        if info.points_count and await _is_of_others(connection):
            raise StoreUnavailableError(
                f"the collection {connection.name!r} is there and is no store of memories; name another one"
            )
        if profile is None:
            raise StoreUnavailableError(f"the store at {connection.address} is not made yet; give a profile to make it")
        _compare(connection.address, info, profile.dimension)
        held = await _complete(connection, profile)
        info = await _info(connection) or info
    if profile not in (None, held):
        raise ProfileMismatchError(
            f"the store at {connection.address} holds vectors of {held.model_id!r} with {held.dimension} numbers, not "
            f"of {profile.model_id!r} with {profile.dimension}; use that model, or copy the memories into a new store"
        )
    _compare(connection.address, info, held.dimension)
    _compare_indexes(connection, info)
    return held


async def _check_server(connection: Connection) -> None:
    found = (await connection.call("asking for the server's version", lambda client: client.info())).version
    numbers = tuple(int(part) for part in found.split("-")[0].split(".")[:2] if part.isdigit())
    if numbers < VERSION_MIN:
        wanted = ".".join(map(str, VERSION_MIN))
        raise StoreUnavailableError(f"the server is Qdrant {found}; commits need {wanted} or newer: upgrade it")


async def _info(connection: Connection) -> models.CollectionInfo | None:
    try:
        return await connection.call("looking at the collection", lambda client: client.get_collection(connection.name))
    except MissingError:
        return None


async def _create(connection: Connection, dimension: int) -> None:
    address = connection.address
    quantization = _QUANTIZATION.get(address.quantization or "none")
    try:
        await connection.call(
            "creating the collection",
            lambda client: client.create_collection(
                connection.name,
                vectors_config=_vectors(dimension),
                sparse_vectors_config={TERMS: models.SparseVectorParams()},
                shard_number=address.shards,
                replication_factor=address.replicas,
                write_consistency_factor=address.write_consistency,
                quantization_config=quantization,
            ),
            patience_s=CREATE_PATIENCE_S,
        )
    except InvalidRequestError:
        # Another adapter may have made it in the meantime, or an earlier try of this one whose answer was lost.
        if await _info(connection) is None:
            raise


def _vectors(dimension: int) -> dict[str, models.VectorParams]:
    """Return the vectors of a point. Rows have length 1, so the dot product is the cosine and they stay as they are."""
    best = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    return {
        DENSE: models.VectorParams(size=dimension, distance=models.Distance.DOT),
        WINDOWS: models.VectorParams(size=dimension, distance=models.Distance.DOT, multivector_config=best),
    }


async def _complete(connection: Connection, profile: StoreProfile) -> StoreProfile:
    """Write what a new store begins with; the profile comes last and says that the store is whole."""

    async def index(field: str, schema: Any) -> None:
        await connection.call(
            "creating an index",
            lambda client: client.create_payload_index(connection.name, field, schema, ordering=connection.ordering),
            patience_s=CREATE_PATIENCE_S,
        )

    await asyncio.gather(*(index(field, schema) for field, schema in INDEXES.items()))
    await heads.create(connection)
    payload = {"profile_format": FORMAT, "profile_model": profile.model_id, "profile_dimension": profile.dimension}
    point = models.PointStruct(id=heads.PROFILE_ID, vector={}, payload=payload)
    await connection.call(
        "creating the profile",
        lambda client: client.upsert(connection.name, [point], update_filter=heads.NEVER, ordering=connection.ordering),
    )
    # Another adapter may have written its own first.
    return await _read_profile(connection) or profile


async def _read_profile(connection: Connection) -> StoreProfile | None:
    found = await connection.call(
        "reading the profile",
        lambda client: client.retrieve(connection.name, [heads.PROFILE_ID]),
    )
    if not found:
        return None
    payload = found[0].payload or {}
    if payload.get("profile_format") != FORMAT:
        raise StoreUnavailableError(
            f"the store at {connection.address} has the format {payload.get('profile_format')!r}, and this version of "
            f"Recollect reads the format {FORMAT}: use the version that made it"
        )
    try:
        return msgspec.convert(
            {"model_id": payload.get("profile_model"), "dimension": payload.get("profile_dimension")}, StoreProfile
        )
    except msgspec.ValidationError as error:
        raise StoreDamagedError(
            f"the profile of the store cannot be read: {error}", place=f"point {heads.PROFILE_ID}"
        ) from error


async def _is_of_others(connection: Connection) -> bool:
    """Say whether a collection without a profile holds any point but a head, which a crash while making it leaves."""
    others = models.Filter(must_not=[models.HasIdCondition(has_id=[heads.HEAD_ID])])
    found, _ = await connection.call(
        "looking at the collection", lambda client: client.scroll(connection.name, others, limit=1, with_payload=False)
    )
    return bool(found)


# --- Whether a collection will do ------------------------------------------------------------------------------------


def _compare(address: ServerAddress, info: models.CollectionInfo, dimension: int) -> None:
    """Refuse a collection that is not as the URL says, or not as a store's must be."""
    params = info.config.params
    vectors = params.vectors if isinstance(params.vectors, dict) else {}
    differences = []
    for name, expected in _vectors(dimension).items():
        found = vectors.get(name)
        same = found is not None and (
            (found.size, found.distance, found.multivector_config)
            == (expected.size, expected.distance, expected.multivector_config)
        )
        if not same:
            differences.append(f"the vector {name!r} should have {dimension} numbers and the distance Dot")
    if TERMS not in (params.sparse_vectors or {}):
        differences.append(f"the sparse vector {TERMS!r} is missing")
    asked: dict[str, tuple[Any, Any]] = {
        "shards": (address.shards, params.shard_number),
        "replicas": (address.replicas, params.replication_factor),
        "write_consistency": (address.write_consistency, params.write_consistency_factor),
        "quantization": (address.quantization, _quantization_of(info)),
    }
    differences += [
        f"{name} is {there}, the URL says {wanted}"
        for name, (wanted, there) in asked.items()
        if wanted is not None and wanted != there
    ]
    if differences:
        raise StoreUnavailableError(
            f"the collection {address.collection!r} is not as it should be, and is never altered: "
            f"{'; '.join(differences)}. Change the URL, or copy the memories into a new collection"
        )


def _quantization_of(info: models.CollectionInfo) -> str:
    for name, config in _QUANTIZATION.items():
        if isinstance(info.config.quantization_config, type(config)):
            return name
    return "none" if info.config.quantization_config is None else "another one"


def _compare_indexes(connection: Connection, info: models.CollectionInfo) -> None:
    if missing := sorted(set(INDEXES) - set(info.payload_schema)):
        raise StoreUnavailableError(
            f"the collection {connection.name!r} has lost the payload indexes that reads need: {', '.join(missing)}; "
            "create them, or restore the collection from a snapshot"
        )
