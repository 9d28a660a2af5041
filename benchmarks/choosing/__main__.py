"""Write the table of the three backends into documents, from what stands in `benchmarks/results`.

`python -m benchmarks.choosing README.md docs/backends.md`. A test compares the documents with the results, so the table
is written again whenever a benchmark was run.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS, table

BEGIN, END = "<!-- choosing -->", "<!-- /choosing -->"
FILE, EDGE, SERVER = "`file:`", "`edge:`", "`qdrant:`"
NOT_MEASURED = "not measured"


class Results:
    """The results of one benchmark."""

    def __init__(self, name: str, folder: Path) -> None:
        """Read them."""
        self._content: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
        self.name = name

    def row(self, what: str) -> dict[str, Any]:
        """Return the row that is named so."""
        [found] = [row for row in self._content["rows"] if row["what"] == what]
        return dict(found)

    def goal(self, pattern: str) -> float:
        """Return the figure of the goal whose name begins so."""
        [found] = [goal["value"] for goal in self._content["goals"] if goal["what"].startswith(pattern)]
        return float(found)

    def count(self, pattern: str) -> str:
        """Return the number of memories that the name of a row tells."""
        matches = (re.fullmatch(pattern, str(row["what"])) for row in self._content["rows"])
        [found] = [match[1] for match in matches if match]
        return str(found)

    @property
    def source(self) -> str:
        """Say by what, when and where it was measured."""
        machine = self._content["machine"]
        return (
            f"[{self.name}.md](BASE{self.name}.md): `{machine['command']}`, {machine['date']}, "
            f"{machine['cores']} cores of {machine['processor']}"
        )


def rows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the table."""
    file, edge, server = (Results(name, folder) for name in ("storage", "edge", "server"))
    many, fewer = edge.count(r"opening a store of ([\d,]+) memories"), server.count(r"commit of 100, while ([\d,]+) .*")
    commits = server.row("320 commits of 1 by 16 writers")["memories_per_s"]

    def among(ms: float, memories: str) -> str:
        return f"{ms:.2f} ms among {memories}"

    return [
        {
            "": "a durable commit of one memory, alone",
            FILE: f"{file.row('durable commit of 1')['ms']:.2f} ms",
            EDGE: f"{edge.row('durable commit of 1')['ms']:.2f} ms",
            SERVER: f"{server.row('commit of 1')['ms']:.2f} ms",
        },
        {
            "": "such commits of 16 writers",
            FILE: NOT_MEASURED,
            EDGE: f"{edge.row('durable commits a second, writers: 16')['per_s']:,.0f} a second",
            SERVER: f"{commits:,.0f} a second",
        },
        {
            "": "the ten nearest, filtered to a hundredth",
            FILE: among(file.row("search of 100,000, filtered to 1%")["ms"], "100,000"),
            EDGE: among(edge.row("top 10, filtered to 1 %")["ms"], many),
            SERVER: among(server.row("top 10, filtered to 1 %")["ms"], fewer),
        },
        {
            "": "the ten nearest of all",
            FILE: among(file.row("search of 100,000")["ms"], "100,000"),
            EDGE: among(edge.row("top 10, unfiltered")["ms"], many),
            SERVER: among(server.row("top 10, unfiltered")["ms"], fewer),
        },
        {
            "": "how many of the ten nearest are found",
            FILE: "all: it looks at each",
            EDGE: f"{edge.goal('recall@10'):.1%}",
            SERVER: f"{server.goal('recall@10'):.1%}",
        },
        {
            "": "a commit beside the bare part",
            FILE: f"{file.goal('single durable commit'):.1f} times an SQLite transaction",
            EDGE: f"{edge.goal('single durable commit'):.1f} times an append that is synced",
            SERVER: f"{server.goal('commit of 1,'):.1f} times the client's upsert",
        },
        {
            "": "a filtered search beside the bare part",
            FILE: f"{file.row('search of 100,000, filtered to 1%')['times']:.1f} times reading those vectors",
            EDGE: f"{edge.goal('filtered top 10, times'):.1f} times the engine alone",
            SERVER: f"{server.goal('top 10, filtered'):.1f} times the client alone",
        },
    ]


def text_for(document: Path, folder: Path = RESULTS) -> str:
    """Return the table and where it comes from, with links as a document needs them."""
    sources = [Results(name, folder).source for name in ("storage", "edge", "server")]
    base = "benchmarks/results/" if document.name == "README.md" else "../benchmarks/results/"
    measured = "\n".join(f"- {source.replace('BASE', base)}" for source in sources)
    return f"{BEGIN}\n{table(rows(folder))}\n\nMeasured by:\n\n{measured}\n{END}"


def with_table(document: Path, folder: Path = RESULTS) -> str:
    """Return a document with the table as it should be."""
    text = document.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return before + text_for(document, folder) + after


def main() -> None:
    """Write the table into the documents that are named."""
    for name in sys.argv[1:]:
        document = Path(name)
        document.write_text(with_table(document))


if __name__ == "__main__":
    main()
