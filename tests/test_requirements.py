"""The list of requirements and the tests that prove them agree."""

import ast
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = (ROOT / "tests", ROOT / "adapters" / "testing")
STATES = {"planned", "partly", "held"}
LAST_NUMBERS = {"A": 17, "B": 13, "C": 8, "D": 6, "E": 6, "F": 7, "G": 8}
REQUIREMENTS: dict[str, dict[str, str]] = tomllib.loads((ROOT / "tests" / "requirements.toml").read_text("utf-8"))


def claims_of(source: str) -> Iterator[str]:
    """Yield the ids that the markers in a source name. Read, not imported, so that one file's run knows all claims."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="mark"), attr="requirement"), args=args):
                for argument in args:
                    assert isinstance(argument, ast.Constant), f"line {node.lineno}: name the requirement in letters"
                    yield str(argument.value)


def all_claims() -> dict[str, set[str]]:
    """Return, by requirement, the files whose tests claim to prove it."""
    claims: dict[str, set[str]] = {}
    for file in (file for folder in FOLDERS for file in folder.rglob("*.py")):
        for name in claims_of(file.read_text("utf-8")):
            claims.setdefault(name, set()).add(str(file.relative_to(ROOT)))
    return claims


def disagreements(requirements: Mapping[str, Mapping[str, str]], claims: Mapping[str, set[str]]) -> list[str]:
    """Say in sentences where the list and the claims disagree."""
    unknown = [
        f"{name} is not in the list, but {sorted(claims[name])} claims it" for name in claims.keys() - requirements
    ]
    unproven, premature = [], []
    for name, requirement in requirements.items():
        if requirement["state"] != "planned" and name not in claims:
            unproven.append(f"{name} is {requirement['state']}, but no test proves it")
        if requirement["state"] == "planned" and name in claims:
            premature.append(f"{name} is planned, but {sorted(claims[name])} claims it: set it to held or partly")
    return sorted(unknown) + unproven + premature


def test_what_is_held_is_proven_and_what_is_proven_is_known() -> None:
    assert disagreements(REQUIREMENTS, all_claims()) == []


def test_the_list_is_whole_and_well_formed() -> None:
    assert list(REQUIREMENTS) == [f"{part}{n}" for part, last in LAST_NUMBERS.items() for n in range(1, last + 1)]
    for name, requirement in REQUIREMENTS.items():
        assert requirement.keys() == {"sentence", "state"}, name
        assert requirement["state"] in STATES, name
        assert requirement["sentence"].endswith("."), name


def test_claims_are_found_on_functions_on_classes_and_on_modules() -> None:
    source = """
import pytest
pytestmark = [pytest.mark.slow, pytest.mark.requirement("A1")]

@pytest.mark.requirement("A2", "A3")
class TestIt:
    @pytest.mark.requirement("A4")
    def test_it(self): ...

@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.requirement("A5"))])
async def test_that(x): "pytest.mark.requirement('B1')"
"""
    assert set(claims_of(source)) == {"A1", "A2", "A3", "A4", "A5"}


@pytest.mark.parametrize(
    ("state", "claimed", "found"),
    [
        ("held", "A1", []),
        ("partly", "A1", []),
        ("held", "A2", ["A2 is not in the list, but ['t.py'] claims it", "A1 is held, but no test proves it"]),
        ("planned", "A1", ["A1 is planned, but ['t.py'] claims it: set it to held or partly"]),
    ],
)
def test_a_disagreement_is_said(state: str, claimed: str, found: list[str]) -> None:
    assert disagreements({"A1": {"sentence": "It works.", "state": state}}, {claimed: {"t.py"}}) == found
