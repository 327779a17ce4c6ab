"""The plan of the house, held against the code."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("features", "models", "training", "serving", "experiments")


def test_import_contracts_hold() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    result = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_only_the_planned_folders_hold_code() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {Path(name).parts[0] for name in tracked} <= {*PACKAGES, "tests"}


def test_mlflow_folder_does_not_shadow_the_package() -> None:
    assert not list((ROOT / "mlflow").rglob("*.py"))


def test_every_package_is_built_into_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert tuple(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == PACKAGES


def test_locks_carry_hashes_and_no_host() -> None:
    for lock in ROOT.glob("*.lock"):
        text = lock.read_text()
        assert "://" not in text, f"{lock.name} names a host"
        pinned = [line for line in text.splitlines() if "==" in line and not line.startswith((" ", "#"))]
        assert pinned
        assert all(line.endswith("\\") for line in pinned), f"{lock.name} has a pin without hashes"


def test_importing_a_package_has_no_side_effect(tmp_path: Path) -> None:
    code = (
        "import features, models, training, serving, experiments, serving.app, experiments.__main__, training.__main__"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    assert list(tmp_path.iterdir()) == []
