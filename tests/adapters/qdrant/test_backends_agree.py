"""Files, the embedded engine and a server give the same ids in the same order, on real text with real vectors.

The text is this repository's own documents, and with `--data FOLDER` that of a folder with `items.jsonl` and
`queries.jsonl` besides: one JSON object with a `text` a line, such as LoCoMo's turns and questions.
"""

import json
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from recollect.adapters.clock import TICKS_PER_MS
from recollect.adapters.filters import parse_filter
from recollect.adapters.port import (
    Commit,
    Match,
    Order,
    ProvenanceStorageAdapter,
    Put,
    Scan,
    SimilarityQuery,
    StoreProfile,
)
from recollect.adapters.registry import create_adapter
from recollect.adapters.testing.values import NEWEST, NOW_MS, a_commit, a_version, branch_point, revision_of
from recollect.adapters.versions import MAIN, SparseVector, Vector, Version
from recollect.embeddings import Embedder, create_embedder
from recollect.embeddings.sparse import sparse_query_terms, sparse_terms
from tests.adapters.qdrant.server_process import Server, drop, url_of

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

REPOSITORY = Path(__file__).parents[3]
COMMIT_PUTS = 50
TEXTS_MAX = 1_500
QUESTIONS = 40
FORK_AT = 6
"""After how many commits a branch leaves main; the rest of the past stays to be read as of."""

FILTERS: tuple[dict[str, Any] | None, ...] = (
    None,
    {"tags": {"any": ["even"]}},
    {"metadata.words": {"gte": 12, "lt": 40}},
    {"AND": [{"kind": "episodic"}, {"NOT": {"metadata.words": {"lt": 8}}}]},
    {"OR": [{"importance": {"gt": 0.8}}, {"tags": {"all": ["even", "third"]}}]},
    {"created_at": {"gte": "2026-01-01T00:00:00.200Z"}},
    {"metadata.place": {"exists": False}},
)


def documents() -> list[str]:
    """Return the sentences of this repository's documents."""
    names = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")])
    paragraphs = [part for name in names for part in re.split(r"\n\s*\n", name.read_text())]
    sentences = [part.split() for paragraph in paragraphs for part in re.split(r"(?<=[.:;|])\s+", paragraph)]
    return [" ".join(words) for words in sentences if len(words) > 5]


def lines_of(path: Path) -> list[str]:
    with path.open() as lines:
        return [json.loads(line)["text"] for line in lines]


@pytest.fixture(scope="module")
def real_text(request: pytest.FixtureRequest) -> tuple[list[str], list[str]]:
    """Give texts, each once, and questions."""
    texts = documents()
    questions = texts[:: max(1, len(texts) // QUESTIONS)]
    folder = request.config.getoption("--data")
    if folder is not None:
        texts += lines_of(Path(folder) / "items.jsonl")
        questions = [*questions[: QUESTIONS // 2], *lines_of(Path(folder) / "queries.jsonl")[: QUESTIONS // 2]]
    return list(dict.fromkeys(texts))[:TEXTS_MAX], questions[:QUESTIONS]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedder() -> AsyncGenerator[Embedder, None]:
    made = create_embedder()
    yield made
    await made.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def questions(real_text: tuple[list[str], list[str]], embedder: Embedder) -> list[tuple[str, Vector]]:
    """Give questions with their vectors."""
    return [(text, await embedder.embed_query(text)) for text in real_text[1]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stores(
    real_text: tuple[list[str], list[str]],
    embedder: Embedder,
    qdrant_server: Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncGenerator[dict[str, ProvenanceStorageAdapter], None]:
    """Give the same memories in three backends, with revisions, and a branch that leaves main on the way."""
    folder = tmp_path_factory.mktemp("agree")
    urls = {
        "file": f"file:{folder / 'file'}",
        "edge": f"edge:{folder / 'edge'}",
        "server": url_of(qdrant_server, "agree"),
    }
    profile = StoreProfile(embedder.model_id, embedder.dimension)
    written = commits(await versions_of(real_text[0], embedder))
    async with AsyncExitStack() as stack:
        opened = {name: create_adapter(url) for name, url in urls.items()}
        for adapter in opened.values():
            await adapter.open(profile)
            stack.push_async_callback(adapter.close)
            for commit in written:
                await adapter.commit(commit)
        yield opened
    drop(qdrant_server, "agree")


async def versions_of(texts: Sequence[str], embedder: Embedder) -> list[Version]:
    """Return a memory for each text."""
    rows = await embedder.embed_documents(texts)
    return [
        a_version(
            number,
            content=text,
            namespace=("longterm", "projects")[number % 5 == 0],
            kind=("semantic", "episodic")[number % 3 == 0],
            tags=tuple(name for name, every in (("even", 2), ("third", 3)) if number % every == 0),
            importance=number % 10 / 10,
            metadata={"words": len(text.split()), **({"place": number} if number % 4 else {})},
            vectors=vectors,
            sparse=SparseVector(*sparse_terms(text)),
        )
        for number, (text, vectors) in enumerate(zip(texts, rows, strict=True))
    ]


def position(commit: int) -> int:
    return (NOW_MS + commit) * TICKS_PER_MS


DRAFT = branch_point("draft", (MAIN, position(FORK_AT)))
READ_POINTS = {"newest": NEWEST, "as of": branch_point((MAIN, position(FORK_AT + 2))), "branch": DRAFT}


def commits(versions: Sequence[Version]) -> list[Commit]:
    """Return what is written: memories, then revisions of some on main, then of others on the branch."""
    made = [versions[at : at + COMMIT_PUTS] for at in range(0, len(versions), COMMIT_PUTS)]
    groups: list[list[Version | Put]] = [list(group) for group in made]
    groups.append([revision_of(one, tags=("even", "revised")) for one in versions[1:200:7]])
    groups.append([revision_of(one, branch="draft", importance=0.95) for one in versions[3:200:11]])
    return [
        a_commit(*group, read_point=DRAFT if at == len(groups) - 1 else NEWEST, position=position(at))
        for at, group in enumerate(groups)
    ]


async def answers(adapter: ProvenanceStorageAdapter, query: SimilarityQuery) -> list[Match]:
    return [match async for batch in adapter.find_similar(query) for match in batch]


@pytest.mark.requirement("B1", "A5")
@pytest.mark.parametrize("at", READ_POINTS)
@pytest.mark.parametrize("kind", ["dense", "terms", "both"])
async def test_the_same_question_finds_the_same_ids_in_the_same_order_on_every_backend(
    stores: dict[str, ProvenanceStorageAdapter],
    questions: list[tuple[str, Vector]],
    kind: str,
    at: str,
) -> None:
    found_any = 0
    for turn, (text, vector) in enumerate(questions):
        condition = FILTERS[turn % len(FILTERS)]
        query = SimilarityQuery(
            read_point=READ_POINTS[at],
            dense=None if kind == "terms" else vector,
            sparse=None if kind == "dense" else SparseVector(*sparse_query_terms(text)),
            namespaces=(None, ("longterm",), ("longterm", "projects"))[turn % 3],
            filter=None if condition is None else parse_filter(condition),
            limit=(10, 50, 3, None)[turn % 4],
            threshold=0.1 if turn % 5 == 0 and kind == "dense" else None,
        )
        of_each = {name: await answers(adapter, query) for name, adapter in stores.items()}
        expected = [match.version.ref for match in of_each["file"]]
        for name, found in of_each.items():
            assert [match.version.ref for match in found] == expected, (name, text, condition)
            scores = [match.score for match in found]
            assert scores == pytest.approx([match.score for match in of_each["file"]], rel=1e-5, abs=2e-6)
        found_any += len(expected)
    assert found_any > 5 * len(questions)


@pytest.mark.parametrize("at", READ_POINTS)
@pytest.mark.parametrize("order", list(Order))
async def test_the_same_scan_gives_the_same_versions_in_the_same_order_on_every_backend(
    stores: dict[str, ProvenanceStorageAdapter], order: Order, at: str
) -> None:
    for condition in FILTERS:
        scan = Scan(
            read_point=READ_POINTS[at], order=order, filter=None if condition is None else parse_filter(condition)
        )
        of_each = {
            name: [version.ref async for batch in adapter.scan(scan) for version in batch]
            for name, adapter in stores.items()
        }
        assert of_each["edge"] == of_each["file"], condition
        assert of_each["server"] == of_each["file"], condition
        assert of_each["file"]
