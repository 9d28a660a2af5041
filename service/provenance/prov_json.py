"""Provenance as W3C PROV-JSON, which other tools read.

A version is an entity, the write that made it an activity, its actor an agent, and a source an entity of its own.
Source of the format: "The PROV-JSON Serialization", W3C Member Submission, 24 April 2013.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from recollect.adapters.port import Projection, ProvenanceStorageAdapter, Scan
from recollect.adapters.versions import MAIN, Version, VersionRef
from recollect.service.presenting import moment
from recollect.service.provenance.derivations import Lines, Step

PREFIXES = {"recollect": "urn:recollect:"}
Document = dict[str, dict[str, Any]]


def entity_id(ref: VersionRef) -> str:
    """Return the name of a version."""
    return f"recollect:version/{ref.memory_id}/{quote(ref.branch, safe='')}/{ref.number}"


def _activity_id(ref: VersionRef) -> str:
    return f"recollect:write/{ref.memory_id}/{quote(ref.branch, safe='')}/{ref.number}"


def _agent_id(actor: str) -> str:
    return f"recollect:actor/{quote(actor, safe='')}"


def _source_id(source: str) -> str:
    return f"recollect:source/{quote(source, safe='')}"


def _qualified(text: str) -> dict[str, str]:
    return {"$": text, "type": "prov:QUALIFIED_NAME"}


class ProvDocument:
    """A PROV document, or one bundle of it, that grows by versions and the steps between them."""

    def __init__(self) -> None:
        self._sections: Document = {}

    def add_version(self, version: Version) -> None:
        """Add a version, the write that made it, its actor and its source."""
        ref = version.ref
        described: dict[str, Any] = {
            "prov:type": _qualified("recollect:Version"),
            "recollect:namespace": version.namespace,
            "recollect:kind": version.kind,
            "recollect:confidence": {"$": repr(version.confidence), "type": "xsd:double"},
        }
        if version.summary:
            described["prov:label"] = version.summary
        self._put("entity", entity_id(ref), described)
        record = version.provenance
        if record is None:
            return
        when = moment(record.time_ms).isoformat()
        activity, agent = _activity_id(ref), _agent_id(record.actor)
        told: dict[str, Any] = {
            "prov:startTime": when,
            "prov:endTime": when,
            "prov:type": _qualified(f"recollect:{record.action.value}"),
        }
        if record.note:
            told["recollect:note"] = record.note
        if record.confidence is not None:
            told["recollect:confidence"] = {"$": repr(record.confidence), "type": "xsd:double"}
        self._put("activity", activity, told)
        self._put("agent", agent, {"prov:label": record.actor})
        made = {"prov:entity": entity_id(ref), "prov:activity": activity, "prov:time": when}
        self._relate("wasGeneratedBy", ref, made)
        self._relate("wasAssociatedWith", ref, {"prov:activity": activity, "prov:agent": agent})
        self._relate("wasAttributedTo", ref, {"prov:entity": entity_id(ref), "prov:agent": agent})
        if record.source:
            source = _source_id(record.source)
            self._put("entity", source, {"prov:label": record.source, "prov:type": _qualified("recollect:Source")})
            self._derive(ref, source, "prov:PrimarySource")

    def add_step(self, step: Step, *, forgotten: bool = False) -> None:
        """Add a step from a version to one that it came from; forgetting ends the one before it."""
        kinds = {"revision_of": "prov:Revision", "merged_from": "recollect:Merge"}
        self._derive(step.child, entity_id(step.parent), kinds.get(step.kind, "recollect:Derivation"))
        if forgotten and step.kind == "revision_of":
            ended = {"prov:entity": entity_id(step.parent), "prov:activity": _activity_id(step.child)}
            self._relate("wasInvalidatedBy", step.child, ended)

    def content(self) -> Document:
        """Return the document without its prefixes."""
        return self._sections

    def _derive(self, child: VersionRef, used: str, kind: str) -> None:
        told = {
            "prov:generatedEntity": entity_id(child),
            "prov:usedEntity": used,
            "prov:activity": _activity_id(child),
            "prov:type": _qualified(kind),
        }
        section = self._sections.setdefault("wasDerivedFrom", {})
        section[f"_:d{len(section)}"] = told

    def _relate(self, kind: str, ref: VersionRef, told: dict[str, Any]) -> None:
        self._put(kind, f"_:{kind}-{ref.memory_id}-{quote(ref.branch, safe='')}-{ref.number}", told)

    def _put(self, section: str, identifier: str, told: dict[str, Any]) -> None:
        self._sections.setdefault(section, {})[identifier] = told


def encode_document(versions: Iterable[Version | None], steps: Iterable[Step]) -> bytes:
    """Return versions and the steps between them as one PROV-JSON document."""
    document = ProvDocument()
    forgotten: set[VersionRef] = set()
    for version in versions:
        if version is not None:
            document.add_version(version)
            if version.forgotten:
                forgotten.add(version.ref)
    for step in steps:
        document.add_step(step, forgotten=step.child in forgotten)
    return msgspec.json.encode({"prefix": PREFIXES, **document.content()})


async def stream_store(
    store: ProvenanceStorageAdapter, namespaces: tuple[str, ...] | None
) -> AsyncGenerator[Sequence[bytes], None]:
    """Stream the provenance of every version of a store, on all branches, as one PROV-JSON document.

    It is a document of bundles, some versions each, so that it needs no more memory for a large store.
    """
    yield [b'{"prefix":' + msgspec.json.encode(PREFIXES) + b',"bundle":{']
    scan = Scan(read_point=None, namespaces=namespaces, projection=Projection(provenance=True))
    number = 0
    async for batch in store.scan(scan):
        bundle = ProvDocument()
        for version in batch:
            bundle.add_version(version)
            for step in await _steps_of(store, version):
                bundle.add_step(step, forgotten=version.forgotten)
        number += 1
        name = msgspec.json.encode(f"recollect:export/{number}")
        lead = b"," if number > 1 else b""
        yield [lead + name + b":" + msgspec.json.encode({"prefix": PREFIXES, **bundle.content()})]
    yield [b"}}\n"]


async def _steps_of(store: ProvenanceStorageAdapter, version: Version) -> list[Step]:
    ref = version.ref
    derived = () if version.provenance is None else version.provenance.derived_from
    steps = [
        Step(ref, parent, "merged_from" if parent.memory_id == ref.memory_id else "derived_from") for parent in derived
    ]
    # On main the version before has the number before; only a branch needs a look at where it was forked.
    earlier = VersionRef(ref.memory_id, MAIN, ref.number - 1) if ref.number > 1 else None
    if ref.branch != MAIN:
        earlier = await Lines(store).before(ref)
    if earlier is not None and earlier not in derived:
        steps.append(Step(ref, earlier, "revision_of"))
    return steps
