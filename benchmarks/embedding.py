"""How fast are texts embedded, alone and in bulk, against sentence-transformers' default, and how well do they agree?

`python -m benchmarks.embedding [--data FOLDER]`. All systems embed the same texts in turn, round after round, each in a
process of its own; speeds are medians, and a ratio is the median of the rounds' ratios.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
from matplotlib.figure import Figure

from benchmarks.embedding_systems import BASELINE, DEFAULT, PRECISIONS, TORCH, WRITERS, Rows, System
from benchmarks.report import Report, median, ratio
from recollect.embeddings import EmbedderSettings, create_embedder
from recollect.embeddings.bundled import model_folder
from recollect.embeddings.tokenization import WindowTokenizer


def main() -> None:
    """Measure, and write the report."""
    arguments = parse(sys.argv[1:])
    if arguments.first_vector:
        print(json.dumps(first_vector(arguments.first_vector, arguments.cache)))
        return
    os.environ["HF_HUB_OFFLINE"] = "1"
    report = Report("embedding", "Embedding: how much faster than sentence-transformers' default, at what agreement?")
    corpus = words_of(arguments.data)
    ratios: dict[str, dict[str, float]] = {}
    systems = [System(kind, arguments.cache) for kind in (BASELINE, DEFAULT, *PRECISIONS, TORCH)]
    for tokens, count in ((20, arguments.texts), (120, arguments.texts // 4)):
        texts = texts_of_about(corpus, tokens, count)
        rows = measure(systems, texts, rounds=arguments.rounds)
        ratios[f"{tokens} tokens"] = add_rows(report, systems, rows, tokens)
    for system in systems:
        system.stop()
    for name in (BASELINE, "auto"):
        add_first_vector(report, name, arguments)
    report.add_note(f"Texts: {arguments.data.name if arguments.data else 'this repository: documents and git log'}.")
    report.add_note("Each system has a process of its own; they take turns, and wait while another is measured.")
    report.add_note(f"`writers` is {WRITERS} concurrent callers with one text each at a time, as an HTTP service has.")
    report.write(lambda figure: draw(figure, ratios))


def parse(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        type=Path,
        help="folder with an items.jsonl whose lines have a `text`, such as the LoCoMo conversations; without it the "
        "texts are cut from this repository's documents and git log",
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all systems in turn (default 5)")
    parser.add_argument("--texts", type=int, default=512, help="short texts in bulk; a quarter as many long ones")
    parser.add_argument("--cache", type=Path, help="folder of exported models (default: the user's cache folder)")
    parser.add_argument("--first-vector", choices=[BASELINE, "auto"], help=argparse.SUPPRESS)
    return parser.parse_args(words)


# --- Texts -----------------------------------------------------------------------------------------------------------


def words_of(data: Path | None) -> list[str]:
    """Return the words of the corpus in order."""
    if data is not None:
        lines = (data / "items.jsonl").read_text(encoding="utf-8").splitlines()
        return [word for line in lines for word in str(json.loads(line)["text"]).split()]
    root = Path(__file__).parent.parent
    documents = [
        path.read_text(encoding="utf-8") for path in sorted(root.glob("*.md")) + sorted(root.glob("docs/*.md"))
    ]
    sources: list[str] = [path.read_text(encoding="utf-8") for path in sorted(root.glob("*/*.py"))]
    log = subprocess.run(["git", "log", "--format=%s%n%b"], capture_output=True, text=True, check=False, cwd=root)
    return [word for text in (*documents, log.stdout, *sources) for word in text.split()]


def texts_of_about(corpus: list[str], tokens: int, count: int) -> list[str]:
    """Cut texts of 60 to 140 per cent of `tokens` tokens, evenly spread, from places all over the corpus."""
    tokenizer = WindowTokenizer(model_folder() / "tokenizer.json", window_tokens=100_000, overlap_tokens=0)
    chance = random.Random(tokens)
    texts: list[str] = []
    while len(texts) < count:
        wanted = chance.uniform(0.6, 1.4) * tokens
        start = chance.randrange(max(1, len(corpus) - 2 * tokens))
        words = corpus[start : start + 2 * tokens]
        # Words have between one and a few tokens: cut by the measured share.
        share = wanted / len(tokenizer.windows([" ".join(words)])[0][0])
        texts.append(" ".join(words[: max(1, round(share * len(words)))]))
    return texts


# --- Measuring -------------------------------------------------------------------------------------------------------


def measure(systems: Sequence[System], texts: list[str], *, rounds: int) -> list[Rows]:
    """Measure all systems in turn, round after round, after one warm-up; return the vectors that each gives."""
    rows = [system.embed(texts) for system in systems]
    for system in systems:
        system.begin()
    for _ in range(rounds):
        for system in systems:
            system.measure(texts, texts[:64])
    return rows


def add_rows(report: Report, systems: Sequence[System], rows: Sequence[Rows], tokens: int) -> dict[str, float]:
    """Add a row per system and the goals of the default one; return its ratios for the plot."""
    base = systems[0]
    ratios: dict[str, float] = {}
    for system, of_system in zip(systems, rows, strict=True):
        bulk = ratio(system.texts_per_s, base.texts_per_s)
        single = ratio(base.single_ms, system.single_ms)
        cosines = np.einsum("ij,ij->i", of_system.astype(np.float64), rows[0].astype(np.float64))
        report.add_row(
            system=system.name,
            tokens=tokens,
            **{
                "bulk texts/s": median(system.texts_per_s),
                "x bulk": bulk,
                "single ms": median(system.single_ms),
                "x single": single,
                "writers texts/s": median(system.writers_per_s) if system.writers_per_s else "",
                "cosine mean": float(cosines.mean()),
                "cosine worst": float(cosines.min()),
            },
        )
        if system is systems[1]:
            name = f"{system.name}, about {tokens} tokens"
            report.add_goal(f"bulk, times sentence-transformers ({name})", bulk, at_least=3.5)
            report.add_goal(f"single text, times sentence-transformers ({name})", single, at_least=3.5)
            report.add_goal(f"cosine to fp32, mean ({name})", float(cosines.mean()), at_least=0.999)
            report.add_goal(f"cosine to fp32, worst ({name})", float(cosines.min()), at_least=0.995)
            ratios = {"bulk": bulk, "single text": single}
    return ratios


def add_first_vector(report: Report, name: str, arguments: argparse.Namespace) -> None:
    """Start fresh processes from a warm cache, and note the time to the first vector and the memory."""
    command = [sys.executable, "-m", "benchmarks.embedding", "--first-vector", name]
    command += ["--cache", str(arguments.cache)] if arguments.cache else []
    runs = []
    for _ in range(arguments.rounds):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    first_s = median(run["first_s"] for run in runs)
    report.add_row(
        system=f"{runs[0]['runtime']}, fresh process",
        **{"first vector s": first_s, "resident MiB": median(run["resident_mib"] for run in runs)},
    )
    if name == "auto":
        report.add_goal("first vector from a warm cache, s", first_s, at_most=1.0)


def first_vector(name: str, cache: Path | None) -> dict[str, float | str]:
    """Bring up one system in this process, imports included, and embed one text."""
    start = time.perf_counter()
    if name == BASELINE:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - its import is part of what is measured

        SentenceTransformer(str(model_folder()), device="cpu", local_files_only=True).encode("first")
        runtime = BASELINE
    else:
        embedder = create_embedder(EmbedderSettings(cache_folder=cache))
        asyncio.run(embedder.embed_query("first"))
        runtime = embedder.describe().runtime
    took_s = time.perf_counter() - start
    return {"first_s": took_s, "resident_mib": psutil.Process().memory_info().rss / 2**20, "runtime": runtime}


def draw(figure: Figure, ratios: dict[str, dict[str, float]]) -> None:
    """Draw the ratios of the default runtime beside the goal."""
    axes = figure.subplots()
    labels = [f"{kind}\n{length}" for length, of_length in ratios.items() for kind in of_length]
    values = [value for of_length in ratios.values() for value in of_length.values()]
    bars = axes.bar(labels, values, color="#2f6f9f")
    axes.bar_label(bars, fmt="%.1fx")
    axes.axhline(3.5, color="#b03030", linestyle="--", label="goal 3.5x")
    axes.axhline(1.0, color="#555555", linestyle=":", label="sentence-transformers")
    axes.set_ylabel("times as fast")
    axes.legend()


if __name__ == "__main__":
    main()
