"""What is sent to a server as messages of our own says what the client would have made of its models, as HTTP does."""

from typing import Any

import numpy as np
import pytest
from qdrant_client import grpc, models
from qdrant_client.conversions.conversion import RestToGrpc

from recollect.adapters.port import Projection, SimilarityQuery
from recollect.adapters.qdrant.client_conditions import client_filter, message_filter
from recollect.adapters.qdrant.conditions import (
    EVERYTHING,
    NOTHING,
    All,
    AnyOf,
    Between,
    Condition,
    Matching,
    Negated,
    Nested,
)
from recollect.adapters.qdrant.points import write_of
from recollect.adapters.qdrant.server import heads, wire
from recollect.adapters.qdrant.server.adapter import ServerAdapter
from recollect.adapters.qdrant.server.address import parse_address
from recollect.adapters.testing import values
from recollect.adapters.testing.values import (
    NEWEST,
    PROFILE,
    a_commit,
    a_full_version,
    a_version,
    axis,
    collected,
    found_ids,
    ids,
    terms,
    toward,
    windows,
)
from recollect.adapters.versions import Version
from tests.adapters.qdrant.server_process import Server, url_of

HAS_TAG, OF_TWO = Matching("tokens", ("travel",)), Matching("namespace", ("longterm", "projects"))
BOUND = Between("position", gt=3, lte=2**53)
CONDITIONS: dict[str, Condition] = {
    "one value": HAS_TAG,
    "one of two values": OF_TWO,
    "no value": Matching("tokens", ()),
    "bounds": BOUND,
    "everything": EVERYTHING,
    "nothing": NOTHING,
    "all of several": All((HAS_TAG, All((BOUND, Negated(OF_TWO))))),
    "any of several": AnyOf((HAS_TAG, All((BOUND, Negated(HAS_TAG))), Negated(BOUND))),
    "not all of several": Negated(All((HAS_TAG, BOUND))),
    "not nothing": Negated(NOTHING),
    "objects of a list": Nested("firsts", All((Matching("branch", ("main",)), Between("first", lte=4)))),
}
VERSIONS = {
    "all fields": a_full_version(1),
    "one row": a_version(2, vectors=windows(toward(0.3))),
    "several rows and terms": a_version(3, vectors=windows(axis(0), toward(0.1)), sparse=terms({7: 0.5, 2**31: 2.25})),
    "no vectors": a_version(4),
}


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS.keys())
def test_a_condition_is_the_filter_that_the_client_makes_of_its_models(condition: Condition) -> None:
    assert message_filter(condition) == RestToGrpc.convert_filter(client_filter(condition))


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS.keys())
def test_a_point_is_the_message_that_the_client_makes_of_its_models(version: Version) -> None:
    upsert = wire.Upsert([write_of(version, 5)], heads.NEVER, values.DIMENSION)
    assert wire._as_message(upsert) == RestToGrpc.convert_update_operation(wire._as_model(upsert))


@pytest.mark.parametrize("floor", [None, 0.25])
@pytest.mark.parametrize("vectors", [False, True, ["dense", "windows"]])
@pytest.mark.parametrize(
    "asked",
    [
        {"using": "dense", "row": toward(0.3)},
        {"using": "windows", "row": axis(1)},
        {"using": "terms", "terms": terms({7: 0.5})},
    ],
    ids=lambda asked: asked["using"],
)
def test_a_question_is_the_message_that_the_client_makes_of_its_models(
    asked: dict[str, Any], vectors: Any, floor: float | None
) -> None:
    question = wire.Nearest(condition=HAS_TAG, limit=12, floor=floor, fields=["head"], vectors=vectors, **asked)
    assert wire._question(question, "memories") == RestToGrpc.convert_query_request(wire._request(question), "memories")


def test_a_row_of_any_length_comes_out_of_its_message_as_it_was() -> None:
    for count in (1, 31, 32, 384, 4096, 70_000):
        row = np.random.default_rng(count).standard_normal(count, dtype=np.float32)
        message = grpc.DenseVector.FromString(wire._row(row.tobytes()).SerializeToString())
        assert np.asarray(message.data, dtype=np.float32).tobytes() == row.tobytes()


# --- On a server -----------------------------------------------------------------------------------------------------


async def opened(url: str) -> ServerAdapter:
    adapter = ServerAdapter(parse_address(url))
    await adapter.open(PROFILE)
    return adapter


def like(row: Any, **more: Any) -> SimilarityQuery:
    return SimilarityQuery(read_point=NEWEST, dense=row, limit=10, **more)


@pytest.mark.requirement("A5")
async def test_a_store_holds_and_finds_the_same_over_http_and_over_grpc(qdrant_server: Server, collection: str) -> None:
    by_http = await opened(url_of(qdrant_server, collection, grpc="false"))
    by_grpc = await opened(url_of(qdrant_server, collection))
    await by_http.commit(a_commit(*list(VERSIONS.values())[:2]))
    await by_grpc.commit(a_commit(*list(VERSIONS.values())[2:]))
    everything = Projection(content=True, provenance=True, vectors=True)
    queries = [
        like(toward(0.2)),
        like(toward(0.2), projection=everything),
        like(toward(0.2), threshold=0.3),
        SimilarityQuery(read_point=NEWEST, sparse=terms({7: 1.0}), limit=10),
        SimilarityQuery(read_point=NEWEST, dense=axis(0), sparse=terms({7: 1.0}), limit=None),
    ]
    for query in queries:
        found = [
            [(match.score, values.as_plain(match.version)) for match in await collected(adapter.find_similar(query))]
            for adapter in (by_http, by_grpc)
        ]
        assert found[0]
        assert found[0] == found[1]
    for adapter in (by_http, by_grpc):
        assert (await adapter.check()).findings == ()
        await adapter.close()


async def test_a_memory_of_several_rows_is_found_as_soon_as_another_adapter_wrote_the_first_one(
    qdrant_server: Server, collection: str
) -> None:
    reader, writer = [await opened(url_of(qdrant_server, collection)) for _ in range(2)]
    await writer.commit(a_commit(a_version(1, vectors=windows(toward(0.5)))))
    assert await found_ids(reader, like(axis(0))) == ids(1)
    await writer.commit(a_commit(a_version(2, vectors=windows(axis(3), axis(0)))))
    assert await found_ids(reader, like(axis(0))) == ids(2, 1)
    await writer.commit(a_commit(a_version(3)))
    assert await found_ids(reader, like(axis(0))) == ids(2, 1)
    await reader.close()
    await writer.close()


async def test_a_store_whose_head_does_not_say_whether_a_memory_has_several_rows_is_searched_for_them(
    qdrant_server: Server, collection: str
) -> None:
    writer = await opened(url_of(qdrant_server, collection))
    await writer.commit(a_commit(a_version(1, vectors=windows(axis(3), axis(0)))))
    assert writer._store is not None
    connection = writer._store.connection
    await connection.call(
        "forgetting",
        lambda client: client.delete_payload(
            connection.name, ["head_windowed"], models.PointIdsList(points=[heads.HEAD_ID])
        ),
    )
    reader = await opened(url_of(qdrant_server, collection))
    assert await found_ids(reader, like(axis(0))) == ids(1)
    await reader.close()
    await writer.close()


async def test_scores_that_float32_cannot_tell_apart_are_told_apart_and_those_at_the_threshold_too(
    qdrant_server: Server, collection: str
) -> None:
    adapter = await opened(url_of(qdrant_server, collection))
    near = 0.5 + 2e-6
    rows = {1: toward(near), 2: toward(0.5), 3: toward(0.3)}
    await adapter.commit(a_commit(*(a_version(number, vectors=windows(row)) for number, row in rows.items())))
    matches = await collected(adapter.find_similar(like(axis(0))))
    exact = {
        memory: round(float(row.astype(np.float64) @ axis(0)), 6)
        for memory, row in zip(ids(*rows), rows.values(), strict=True)
    }
    assert {match.version.memory_id: match.score for match in matches} == exact
    assert [match.version.memory_id for match in matches] == ids(1, 2, 3)
    assert await found_ids(adapter, like(axis(0), threshold=exact[ids(1)[0]])) == ids(1)
    await adapter.close()


async def test_the_scores_of_candidates_that_are_clear_of_each_other_cost_no_second_call(
    qdrant_server: Server, collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = await opened(url_of(qdrant_server, collection))
    cosines = (0.9, 0.7, 0.5)
    await adapter.commit(a_commit(*(a_version(at, vectors=windows(toward(one))) for at, one in enumerate(cosines))))
    assert adapter._store is not None
    connection, asked = adapter._store.connection, list[str]()
    call = connection.call

    async def counted(what: str, *rest: Any, **options: Any) -> Any:
        asked.append(what)
        return await call(what, *rest, **options)

    monkeypatch.setattr(connection, "call", counted)
    assert [match.score for match in await collected(adapter.find_similar(like(axis(0))))] == list(cosines)
    assert asked == ["reading"]
    await adapter.close()
