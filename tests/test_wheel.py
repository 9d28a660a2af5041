"""What is installed is what was tested: the wheel, in an environment of its own, outside of the checkout."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("adapters", "embeddings", "service")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and with what it depends on from the environment of the tests."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    # A path in a .pth file is searched, but its own .pth files, among them that of the checkout, are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def run(installed: Path, *command: str) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "RECOLLECT_"))}
    done = subprocess.run(
        [str(installed / "venv" / "bin" / command[0]), *command[1:]],
        cwd=installed,
        env={**environment, "RECOLLECT_MODEL": "hash", "XDG_DATA_HOME": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_three_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    information = f"recollect-{wheel.name.split('-')[1]}.dist-info"

    assert {tuple(name.split("/")[:2]) for name in names if not name.startswith(information)} == {
        ("recollect", package) for package in PACKAGES
    }
    assert {name for name in names if name.endswith("py.typed")} == {
        f"recollect/{package}/py.typed" for package in PACKAGES
    }
    assert f"{information}/licenses/LICENSE" in names


def test_the_wheel_holds_every_module_of_the_checkout(wheel: Path) -> None:
    sources = {
        f"recollect/{path.relative_to(ROOT).as_posix()}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }

    assert {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")} == sources


def test_an_outsider_can_import_the_packages_and_the_conformance_suite(installed: Path) -> None:
    program = (
        "import recollect.adapters.testing, recollect.service, recollect.embeddings as embeddings\n"
        "print(recollect.adapters.testing.__file__, recollect.service.__file__, embeddings.__file__, sep='\\n')"
    )

    for place in run(installed, "python", "-c", program).splitlines():
        assert Path(place).is_relative_to(installed)


def test_an_outsider_can_remember_and_recall(installed: Path) -> None:
    assert run(installed, "recollect", "--version").startswith("recollect ")
    assert run(installed, "recollect", "remember", "Night trains have window seats.").startswith("created")
    assert "Night trains have window seats." in run(installed, "recollect", "recall", "window seats")
    assert run(installed, "recollect", "fsck").startswith("sound")
    assert (installed / "recollect" / "store" / "store.json").is_file()


def test_an_outsider_can_serve(installed: Path) -> None:
    run(installed, "python", "-c", "import recollect.service.http.server, recollect.service.demo")
