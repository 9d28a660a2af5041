"""The commands of a developer: what they run, and when they set up."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TARGETS = {
    "serve": ".venv/bin/recollect serve",
    "demo": ".venv/bin/python -m recollect.service.demo",
    "test": ".venv/bin/pytest",
    "test-slow": ".venv/bin/pytest --slow -m slow",
    "check": ".venv/bin/lint-imports",
    "bench": "set -e; for name in question; do .venv/bin/python -m benchmarks.$name; done",
    "wheel": ".venv/bin/python -m build --wheel",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that is set up, as far as make can tell."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "hatch_build.py"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "question.py").write_text('if __name__ == "__main__":\n    print()\n')
    (tmp_path / "benchmarks" / "shared.py").write_text("")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".setup-stamp").touch()
    return tmp_path


def make(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments], cwd=checkout, env={**kept, **environment}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("target", "command"), TARGETS.items())
def test_a_target_runs_its_tool_and_sets_up_only_once(checkout: Path, target: str, command: str) -> None:
    planned = make(checkout, "--dry-run", target).stdout

    assert any(line.startswith(command) for line in planned.splitlines())
    assert "-m venv" not in planned


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_what_is_depended_on_sets_up_anew_when_it_changes(checkout: Path, name: str) -> None:
    stamp = checkout / ".venv" / ".setup-stamp"
    os.utime(stamp, ns=(1, (checkout / name).stat().st_mtime_ns - 1))

    assert "-m venv .venv" in make(checkout, "--dry-run", "test").stdout


def test_a_checkout_that_is_not_set_up_is_set_up_first(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")

    planned = make(checkout, "--dry-run", "test").stdout

    assert planned.index("-m venv .venv") < planned.index("pip install") < planned.index(".venv/bin/pytest")


def test_a_python_that_is_too_old_is_told(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    old = checkout / "python-old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)

    answer = make(checkout, "setup", f"PYTHON={old}")

    assert answer.returncode != 0
    assert "Python 3.11 or newer is needed" in answer.stderr
    assert not (checkout / ".venv").exists()


def test_help_names_every_target(checkout: Path) -> None:
    shown = make(checkout).stdout

    for target in (*TARGETS, "setup", "clean"):
        assert f"make {target} " in shown


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (5, 0), (1, 2), (2, 2)])
def test_finding_no_test_is_no_failure_but_a_failed_one_is(checkout: Path, status: int, expected: int) -> None:
    program = checkout / ".venv" / "bin" / "pytest"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nexit {status}\n")
    program.chmod(0o755)
    (checkout / ".venv" / ".setup-stamp").touch()

    assert make(checkout, "test").returncode == expected
    assert make(checkout, "test-slow").returncode == expected


@pytest.mark.parametrize("failing", [None, "test", "check"])
def test_the_ci_run_sets_up_tests_and_checks_and_stops_at_the_first_failure(
    tmp_path: Path, failing: str | None
) -> None:
    (tmp_path / "checkout" / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", tmp_path / "checkout" / ".ci" / "run")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "make").write_text(f'#!/bin/sh\necho "$PWD $1" >> {tmp_path}/calls\n[ "$1" != "{failing}" ]\n')
    (tools / "make").chmod(0o755)

    done = subprocess.run(
        [str(tmp_path / "checkout" / ".ci" / "run")],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PYTHON": sys.executable},
        check=False,
    )

    all_steps = ["setup", "test", "test-slow", "check"]
    steps = all_steps if failing is None else all_steps[: all_steps.index(failing) + 1]
    assert (tmp_path / "calls").read_text().splitlines() == [f"{tmp_path / 'checkout'} {step}" for step in steps]
    assert (done.returncode == 0) == (failing is None)


def test_the_hooks_of_a_commit_are_valid_and_their_tools_are_there() -> None:
    tool = Path(sys.executable).parent / "pre-commit"
    subprocess.run([str(tool), "validate-config", str(ROOT / ".pre-commit-config.yaml")], check=True)

    entries = [
        line.split("entry:")[1].split()[0]
        for line in (ROOT / ".pre-commit-config.yaml").read_text().splitlines()
        if "entry:" in line
    ]
    assert entries
    for entry in entries:
        assert (Path(sys.executable).parent / Path(entry).name).exists()
