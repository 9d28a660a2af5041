"""What a memory answers when it is asked where it comes from."""

import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from prov.model import ProvDocument

from recollect.service import MemoryService, ReadOptions
from recollect.service.answers import ProvenanceRecord
from recollect.service.errors import InvalidInputError, MemoryNotFoundError
from recollect.service.provenance.requests import (
    LineageRequest,
    NewRelation,
    VersionOptions,
    WhyRequest,
)
from recollect.service.requests import NewMemory, ProvenanceInput, Revision

pytestmark = pytest.mark.every_backend

Derive = Callable[..., Awaitable[str]]
NOWHERE = "0198f0c2-a7d3-7c1e-9d5b-8f6a7e4c3b21"
BOTH = LineageRequest(direction="both")


async def revise(memory: MemoryService, memory_id: str, content: str, actor: str, **said: Any) -> None:
    given = ProvenanceInput(actor=actor, **said)
    await memory.revise(memory_id, Revision(content=content, provenance=given))


def edges(answer: Any) -> set[tuple[str, str, str]]:
    return {(edge.child, edge.kind, edge.parent) for edge in answer.edges}


@pytest.mark.requirement("A11")
async def test_each_version_has_a_record_of_its_own(memory: MemoryService, derive: Derive) -> None:
    stored = await derive("first", source="message:1")
    await revise(memory, stored, "second", "ben", note="she said so")
    old = await memory.provenance.record(stored, VersionOptions(version=1))
    new = await memory.provenance.record(stored, VersionOptions())
    assert old.provenance is not None
    assert new.provenance is not None
    assert (old.version, old.provenance.actor, old.provenance.source) == (1, "ana", "message:1")
    assert (new.version, new.provenance.actor, new.provenance.note) == (2, "ben", "she said so")


@pytest.mark.requirement("A11")
async def test_a_forgotten_memory_can_still_be_asked_about(memory: MemoryService, derive: Derive) -> None:
    stored = await derive("gone", source="message:1")
    await memory.forget(stored, provenance=ProvenanceInput(actor="ben"))
    last = await memory.provenance.record(stored, VersionOptions())
    assert last.provenance is not None
    assert (last.provenance.action, last.provenance.actor) == ("forgotten", "ben")
    assert (await memory.provenance.why(stored, WhyRequest())).sources == ["message:1"]


async def test_what_was_never_there_is_not_found(memory: MemoryService, derive: Derive) -> None:
    with pytest.raises(MemoryNotFoundError):
        await memory.provenance.lineage(NOWHERE, LineageRequest())
    stored = await derive("once")
    with pytest.raises(InvalidInputError, match="no version 7"):
        await memory.provenance.record(stored, VersionOptions(version=7))


@pytest.mark.requirement("A1")
async def test_records_of_the_system_cannot_be_asked_about(memory: MemoryService, derive: Derive) -> None:
    left, right = await derive("left"), await derive("right")
    relation = await memory.relations.connect(NewRelation.model_validate({"from": left, "to": right, "type": "a"}))
    with pytest.raises(MemoryNotFoundError):
        await memory.provenance.why(relation.id, WhyRequest())


@pytest.mark.requirement("A11")
async def test_lineage_leads_both_ways_through_versions_derivations_and_sources(
    memory: MemoryService, derive: Derive
) -> None:
    root = await derive("root", source="https://example.org/a")
    await revise(memory, root, "root, revised", "ben")
    middle = await derive("middle", [root])
    leaf = await derive("leaf", [middle])
    answer = await memory.provenance.lineage(middle, BOTH)
    assert answer.root == f"{middle}@1"
    assert edges(answer) == {
        (f"{middle}@1", "derived_from", f"{root}@2"),
        (f"{root}@2", "revision_of", f"{root}@1"),
        (f"{root}@1", "source", "https://example.org/a"),
        (f"{leaf}@1", "derived_from", f"{middle}@1"),
    }
    assert not answer.truncated


@pytest.mark.requirement("A11")
async def test_lineage_stops_where_it_was_told_and_says_so(memory: MemoryService, derive: Derive) -> None:
    chain = [await derive("0")]
    for number in range(1, 6):
        chain.append(await derive(str(number), [chain[-1]]))
    up = await memory.provenance.lineage(chain[-1], LineageRequest(depth=2))
    assert ([node.id for node in up.nodes], up.truncated) == ([f"{item}@1" for item in reversed(chain[-3:])], True)
    down = await memory.provenance.lineage(chain[0], LineageRequest(direction="down", nodes=3))
    assert ([node.id for node in down.nodes], down.truncated) == ([f"{item}@1" for item in chain[:3]], True)
    exactly = await memory.provenance.lineage(chain[-1], LineageRequest(depth=5))
    assert (len(exactly.nodes), exactly.truncated) == (6, False)


@pytest.mark.requirement("A10")
async def test_the_way_down_is_seen_as_of_a_time(memory: MemoryService, derive: Derive) -> None:
    root = await derive("root")
    before = (await memory.get(root)).position
    child = await derive("child", [root])
    down = LineageRequest(direction="down")
    assert len((await memory.provenance.lineage(root, down.model_copy(update={"as_of": before}))).nodes) == 1
    assert [node.id for node in (await memory.provenance.lineage(root, down)).nodes] == [f"{root}@1", f"{child}@1"]


@pytest.mark.requirement("A11")
async def test_a_version_that_did_not_come_along_is_named_as_missing(memory: MemoryService) -> None:
    line = json.dumps(
        {"id": NOWHERE[:-1] + "2", "content": "x", "provenance": {"derived_from": [{"id": NOWHERE, "version": 3}]}}
    )

    async def lines() -> AsyncIterator[bytes]:
        yield line.encode()

    assert (await memory.import_lines(lines())).created == 1
    answer = await memory.provenance.lineage(NOWHERE[:-1] + "2", LineageRequest())
    assert [(node.id, node.missing) for node in answer.nodes[1:]] == [(f"{NOWHERE}@3", True)]


@pytest.mark.requirement("A11")
async def test_blame_names_who_wrote_each_sentence(memory: MemoryService, derive: Derive) -> None:
    stored = await derive("Trains are slow. Ana likes the window.", source="message:1")
    await revise(memory, stored, "Trains are slow. Ana likes the aisle. She has a knee.", "ben", source="message:2")
    await revise(memory, stored, "Trains are slow. She has a knee. Ana likes the aisle.", "eve")
    answer = await memory.provenance.blame(stored, VersionOptions())
    told = [(item.text, item.version, item.actor) for item in answer.sentences]
    assert told[0] == ("Trains are slow.", 1, "ana")
    assert {item[0] for item in told} == {"Trains are slow.", "Ana likes the aisle.", "She has a knee."}
    assert {item[1:] for item in told[1:]} == {(2, "ben"), (3, "eve")}  # one of the two was moved
    first = await memory.provenance.blame(stored, VersionOptions(version=1))
    assert {(item.version, item.source) for item in first.sentences} == {(1, "message:1")}


async def test_blame_goes_by_the_lines_of_a_json_content(memory: MemoryService) -> None:
    stored = (await memory.remember(NewMemory(content={"a": 1, "b": 2}))).id
    await revise(memory, stored, {"a": 1, "b": 3}, "ben")  # type: ignore[arg-type]
    sentences = (await memory.provenance.blame(stored, VersionOptions())).sentences
    assert [(item.text.strip(), item.version) for item in sentences] == [
        ("{", 1), ('"a": 1,', 1), ('"b": 3', 2), ("}", 1),
    ]  # fmt: skip


@pytest.mark.requirement("A11")
async def test_a_history_tells_what_each_version_changed(memory: MemoryService, derive: Derive) -> None:
    stored = await derive("Trains are slow. Ana likes the window.")
    await revise(memory, stored, "Trains are slow. Ana likes the aisle.", "ben")
    newest, oldest = (await memory.provenance.history_with_changes(stored, ReadOptions())).items
    assert newest.changes == [
        "@@ -1,2 +1,2 @@",
        " Trains are slow.",
        "-Ana likes the window.",
        "+Ana likes the aisle.",
    ]
    assert oldest.changes == ["@@ -0,0 +1,2 @@", "+Trains are slow.", "+Ana likes the window."]
    plain = (await memory.history(stored)).items
    assert json.loads(json.dumps([str(item.changes) for item in plain])) == ["UNSET", "UNSET"]


@pytest.mark.requirement("A11")
async def test_why_gathers_everything_in_one_answer(memory: MemoryService, derive: Derive) -> None:
    sure = await derive("sure", source="document:handbook#12", confidence=0.9)
    vague = await derive("vague", source="message:7", confidence=0.5)
    between = await derive("between", [vague], confidence=0.8)
    insight = await derive("insight", [sure, between], confidence=1.0)
    await memory.relations.connect(
        NewRelation.model_validate({"from": insight, "to": sure, "type": "supports", "actor": "ben"})
    )
    await memory.get(insight, ReadOptions(actor="reader"))
    why = await memory.provenance.why(insight, WhyRequest())
    assert set(why.roots) == {f"{sure}@1", f"{vague}@1"}
    assert set(why.sources) == {"document:handbook#12", "message:7"}
    assert (why.certainty.own, why.certainty.minimum, why.certainty.weakest) == (1.0, 0.5, f"{vague}@1")
    assert (why.certainty.product, why.certainty.path) == (0.4, [f"{insight}@1", f"{between}@1", f"{vague}@1"])
    assert [(item.type, item.to) for item in why.relations] == [("supports", sure)]
    assert [item.actor for item in why.receipts] == ["reader"]
    assert isinstance(why.memory.provenance, ProvenanceRecord)


@pytest.mark.requirement("A13")
async def test_a_tree_draws_each_step_and_repeats_no_branch(memory: MemoryService, derive: Derive) -> None:
    root = await derive("root", source="message:1")
    left, right = await derive("left", [root]), await derive("right", [root], confidence=0.5)
    leaf = await derive("leaf", [left, right])
    text = (await memory.provenance.lineage_as(leaf, LineageRequest(format="tree"))).decode()
    shape = [line.partition(" [")[0] for line in text.splitlines()]
    assert shape == [
        "leaf",
        "├── derived from: left",
        "│   └── derived from: root",
        "│       └── source: message:1",
        "└── derived from: right",
        "    └── derived from: root",
    ]
    assert text.splitlines()[-1].endswith("(see above)")
    assert ", confidence 0.5" in text


@pytest.mark.requirement("A13")
async def test_a_chain_longer_than_the_stack_is_drawn(memory: MemoryService) -> None:
    memories = [NewMemory(content="0", key="0")]
    await memory.remember_many(memories)
    last = (await memory.get_by_key("longterm", "0")).id
    for number in range(1, 300):
        given = ProvenanceInput(derived_from=[last])
        last = (await memory.remember(NewMemory(content=str(number), provenance=given, durability="relaxed"))).id
    text = await memory.provenance.lineage_as(last, LineageRequest(format="tree", depth=1000))
    assert len(text.splitlines()) == 300


@pytest.mark.requirement("A13")
async def test_mermaid_shows_hostile_text_literally(memory: MemoryService, derive: Derive) -> None:
    root = await derive('say "hi" --> end]; <b>#1</b>', source='x"]:::evil')
    leaf = await derive("leaf", [root])
    chart = (await memory.provenance.lineage_as(leaf, LineageRequest(format="mermaid"))).decode()
    rows = chart.splitlines()
    assert rows[0] == "flowchart BT"
    assert 'n1["say #34;hi#34; --#62; end]#59; #60;b#62;#35;1#60;/b#62;' in rows[2]
    assert rows[3] == '    n2(["x#34;]:::evil"])'
    assert "    n0 -->|derived from| n1" in rows
    assert "    n1 -->|source| n2" in rows


@pytest.mark.requirement("A13")
async def test_prov_json_of_a_lineage_survives_the_prov_library(memory: MemoryService, derive: Derive) -> None:
    root = await derive("root", source="https://example.org/a b#1", note="so", confidence=0.5)
    await revise(memory, root, "root, revised", "ben")
    leaf = await derive("leaf", [root])
    encoded = await memory.provenance.lineage_as(leaf, LineageRequest(format="prov"))
    document = ProvDocument.deserialize(content=encoded.decode(), format="json")
    again = ProvDocument.deserialize(content=document.serialize(format="json"), format="json")
    assert again == document
    text = document.get_provn()
    assert f"wasDerivedFrom(recollect:version/{leaf}/main/1, recollect:version/{root}/main/2" in text
    assert "prov:Revision" in text
    assert "prov:PrimarySource" in text
    assert text.count("wasGeneratedBy(") == 3
    assert len(list(document.get_records())) == len(list(again.get_records()))


@pytest.mark.requirement("A13")
async def test_the_whole_store_is_exported_as_prov_json(memory: MemoryService, derive: Derive) -> None:
    root = await derive("root", source="message:1")
    leaf = await derive("leaf", [root], namespace="shared")
    await memory.forget(root)
    chunks = [chunk async for batch in memory.provenance.export() for chunk in batch]
    document = ProvDocument.deserialize(source=io.BytesIO(b"".join(chunks)), format="json")
    again = ProvDocument.deserialize(content=document.serialize(format="json"), format="json")
    assert again == document
    flat = document.flattened().get_provn()
    assert flat.count("entity(recollect:version/") == 3
    assert "wasInvalidatedBy(" in flat
    assert "_lineage" not in flat
    only = [chunk async for batch in memory.provenance.export(["shared"]) for chunk in batch]
    assert leaf.encode() in b"".join(only)
    assert b'recollect:message:1"' not in b"".join(only)


@pytest.mark.requirement("A11")
async def test_why_of_a_long_chain_reads_each_level_once(
    memory: MemoryService, derive: Derive, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = await derive("0")
    for number in range(1, 51):
        last = await derive(str(number), [last])
    calls = 0
    get = memory._store.get

    async def counted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return await get(*arguments)

    monkeypatch.setattr(memory._store, "get", counted)
    why = await memory.provenance.why(last, WhyRequest())
    assert len(why.lineage.nodes) == 51
    assert calls <= 53


@pytest.mark.requirement("A16")
async def test_the_times_of_every_question_are_recorded(memory: MemoryService, derive: Derive) -> None:
    stored = await derive("asked about")
    await memory.provenance.why(stored, WhyRequest())
    await memory.provenance.lineage(stored, LineageRequest())
    await memory.provenance.blame(stored, VersionOptions())
    operations = (await memory.status()).operations
    assert all(operations[name]["count"] == 1 for name in ("why", "lineage", "blame"))
