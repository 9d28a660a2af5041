"""What documents tell of the backends' speed stands in the results of the benchmarks."""

import json
import shutil
from pathlib import Path

import pytest
from benchmarks.choosing.__main__ import with_table
from benchmarks.report import RESULTS

ROOT = Path(__file__).parents[1]
DOCUMENTS = ["README.md", "docs/backends.md"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_table_of_a_document_is_the_one_of_the_results(name: str) -> None:
    document = ROOT / name
    assert document.read_text() == with_table(document), f"run: python -m benchmarks.choosing {' '.join(DOCUMENTS)}"


def test_a_result_that_changes_changes_the_table(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    shutil.copytree(RESULTS, folder, ignore=shutil.ignore_patterns("*.png"))
    content = json.loads((folder / "server.json").read_text())
    for row in content["rows"]:
        row["ms"] = row["ms"] + 1_000
    (folder / "server.json").write_text(json.dumps(content))
    document = ROOT / "README.md"
    assert with_table(document, folder) != with_table(document)
