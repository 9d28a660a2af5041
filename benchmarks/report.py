"""What every benchmark prints and keeps: a question, rows of figures, goals, and the machine they were measured on.

A benchmark builds one `Report` and calls `write()`, which makes `results/NAME.json` (all of it), `results/NAME.md`
(a table to read) and `results/NAME.png` (the plot).
"""

import json
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
import psutil
from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results"
Value = str | int | float

__all__ = ["Report", "Value", "machine_facts", "median", "ratio"]


class Report:
    """The answer to one question, in rows.

    `add_row`, `add_goal` and `add_note` return the report, so that calls can be chained.
    """

    def __init__(self, name: str, question: str, *, folder: Path = RESULTS) -> None:
        """Begin a report.

        Args:
            name: The stem of the files.
            question: What is measured, in one sentence.
            folder: Where the files go.
        """
        self.name = name
        self.question = question
        self.rows: list[dict[str, Value]] = []
        self.goals: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self._folder = folder
        self._facts = machine_facts()

    def add_row(self, **values: Value) -> "Report":
        """Add a row; the names are the columns, in the order of their first appearance."""
        self.rows.append(values)
        return self

    def add_goal(
        self, what: str, value: float, *, at_least: float | None = None, at_most: float | None = None
    ) -> "Report":
        """Hold a figure against its goal.

        Args:
            what: The figure, with its unit.
            value: As measured.
            at_least: The goal, where more is better.
            at_most: The goal, where less is better.
        """
        met = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
        goal = f"at least {at_least:g}" if at_least is not None else f"at most {at_most:g}"
        self.goals.append({"what": what, "value": value, "goal": goal, "met": met})
        return self

    def add_note(self, text: str) -> "Report":
        """Say something a reader needs to judge the figures."""
        self.notes.append(text)
        return self

    def write(self, plot: Callable[[Figure], None] | None = None) -> Path:
        """Write the files and print the table.

        Args:
            plot: Draws into an empty figure; without it there is no picture.

        Returns:
            The Markdown file.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        facts = {**self._facts, "load_at_end": load_average()}
        content = {
            "name": self.name,
            "question": self.question,
            "machine": facts,
            "rows": self.rows,
            "goals": self.goals,
            "notes": self.notes,
        }
        (self._folder / f"{self.name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        if plot is not None:
            self._draw(plot)
        text = self._markdown(facts, picture=plot is not None)
        path = self._folder / f"{self.name}.md"
        path.write_text(text)
        print(text)
        return path

    def _draw(self, plot: Callable[[Figure], None]) -> None:
        mpl.use("agg")
        figure = Figure(figsize=(9, 4.5), layout="constrained")
        plot(figure)
        figure.suptitle(self.question, fontsize=10)
        figure.savefig(self._folder / f"{self.name}.png", dpi=120)

    def _markdown(self, facts: dict[str, Value], *, picture: bool) -> str:
        parts = [f"# {self.name}", self.question, table(self.rows)]
        if self.goals:
            goals = [
                {
                    "goal": goal["what"],
                    "wanted": goal["goal"],
                    "measured": _shown(goal["what"], goal["value"]),
                    "met": _yes(met=goal["met"]),
                }
                for goal in self.goals
            ]
            parts += ["## Goals", table(goals)]
        if self.notes:
            parts.append("\n".join(f"- {note}" for note in self.notes))
        if picture:
            parts.append(f"![{self.question}]({self.name}.png)")
        parts += ["## Measured", "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in facts.items())]
        return "\n\n".join(parts) + "\n"


def machine_facts() -> dict[str, Value]:
    """Return what the figures depend on: command, date, commit, processor, cores, memory, versions, load."""
    return {
        "command": _command(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": _versions("numpy", "openvino", "torch", "sentence-transformers"),
        "load_at_start": load_average(),
    }


def load_average() -> str:
    """Return the machine's load over one minute, which tells whether a run was quiet."""
    return f"{os.getloadavg()[0]:.1f}"


def ratio(new: Sequence[float], old: Sequence[float]) -> float:
    """Return the median of the ratios of paired measurements: what two runs side by side can tell on a busy machine."""
    return median(a / b for a, b in zip(new, old, strict=True))


def table(rows: Sequence[dict[str, Value]]) -> str:
    """Return rows as a Markdown table; a column a row does not have stays empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    lines += [" | ".join(_shown(name, row.get(name, "")) for name in columns) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _shown(name: str, value: Value) -> str:
    if not isinstance(value, float):
        return str(value)
    if "cosine" in name:
        return f"{value:.5f}"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def _yes(*, met: bool) -> str:
    return "yes" if met else "NO"


def _command() -> str:
    """Return the command, with folders of this machine shortened to their names."""
    module = Path(sys.argv[0]).stem
    words = [f"…/{Path(word).name}" if word.startswith("/") else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", f"benchmarks.{module}"]) + "".join(f" {word}" for word in words)


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "none"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _versions(*packages: str) -> str:
    known = []
    for package in packages:
        try:
            known.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(known)
