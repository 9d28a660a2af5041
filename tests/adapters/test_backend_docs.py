"""The page on writing a backend does what it says."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import settings

from recollect.adapters.port import ProvenanceStorageAdapter
from recollect.adapters.registry import GROUP

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parents[2] / "docs" / "backends.md"
TEXT = PAGE.read_text("utf-8")
MY_BACKEND = "from recollect.adapters.files import FileAdapter as MyAdapter, from_url"


def block(language: str, marker: str) -> str:
    [found] = [text for text in re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL) if marker in text]
    return str(found)


def run_page(pytester: pytest.Pytester, backend: str, *names: str) -> pytest.RunResult:
    pytester.makepyfile(my_backend=backend, test_my_backend=block("python", "# tests/test_my_backend.py"))
    pytester.syspathinsert()
    options = ("-p", "no:randomly", "-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function")
    return pytester.runpytest_inprocess(*options, "-k", " or ".join(names))


def test_the_test_file_of_the_page_proves_a_backend(pytester: pytest.Pytester) -> None:
    outcome = run_page(pytester, MY_BACKEND, "comes_back_with_every_field", "reopening_finds_everything", "runTest")
    outcome.assert_outcomes(passed=3, deselected=len(suite_tests()) - 2)


def test_the_test_file_of_the_page_shows_what_is_broken_and_by_which_values(pytester: pytest.Pytester) -> None:
    broken = f"""
{MY_BACKEND}

class MyAdapter(MyAdapter):
    async def count(self, *arguments, **options):
        return 1 + await super().count(*arguments, **options)
"""
    outcome = run_page(pytester, broken, "no_namespaces_hold_no_memories")
    outcome.assert_outcomes(failed=1, deselected=len(suite_tests()))
    outcome.stdout.fnmatch_lines(["*assert 1 == 0*"])


def suite_tests() -> list[str]:
    """Return the name of each test of the suite, as often as it runs."""
    from recollect.adapters.testing import ConformanceSuite

    tests: list[str] = []
    for name in (name for name in dir(ConformanceSuite) if name.startswith("test_")):
        count = 1
        for mark in getattr(getattr(ConformanceSuite, name), "pytestmark", []):
            count *= len(mark.args[1]) if mark.name == "parametrize" else 1
        tests += [name] * count
    return tests


def test_the_settings_of_the_page_are_ones_that_hypothesis_takes() -> None:
    before = settings.get_current_profile_name()
    try:
        exec(block("python", "# conftest.py"), {})
        assert settings.get_current_profile_name() == "night"
        assert settings().stateful_step_count == 80
    finally:
        settings.load_profile(before)


def test_the_entry_point_of_the_page_is_the_one_that_is_looked_up() -> None:
    project = tomllib.loads(block("toml", "entry-points"))["project"]
    assert project["entry-points"] == {GROUP: {"mine": "my_backend:from_url"}}


def test_the_page_counts_the_methods_and_links_to_files_that_are_there() -> None:
    assert len(ProvenanceStorageAdapter.__abstractmethods__) == 12
    assert "twelve methods" in TEXT
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in link]
    assert links
    for link in links:
        assert (PAGE.parent / link).is_file(), link
