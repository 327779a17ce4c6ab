"""The plan of the house, held against the code."""

import ast
import itertools
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
PACKAGES = ("features", "models", "training", "serving", "experiments")
LONGEST_MODULE = 450
"""Lines."""
MOST_MODULES = 14
"""That lie directly in one package."""
FORMER = {
    "features": (
        "answers budget business cells columns customer_row customer_table cutoffs delimited event_files "
        "event_log expression ingest intake ledger model_sections near online packed_file packed_redis "
        "packed_rows packed_snapshot packed_store packing point_in_time policy_sections purchases quarantine "
        "sections snapshot source store"
    ),
    "features.pillars": "evidence measures",
    "models": (
        "actions assignment booster bundle calibration champion_memory churn coverage design effects explain "
        "filters folder forest_text hazard health intervals linear lines machine_code off_policy plan policy "
        "policy_bundle predictor purchase_process quadrature quadrature_steps recipe recommend registry segments "
        "sequential shap_plan tree_shap trials uplift_curve value"
    ),
    "training": (
        "baselines bootstrap card categories comparison confidence dataset decision_log document effect_learners "
        "effects evaluate examine export gates histograms horizons labels leaks learn logged_model plots policy "
        "policy_report prepare promote promote_policy promotion_log recommend report same_rows segments "
        "served_model shadow split system_figures told_scores touch_log tracking trial_file tuning value verdict "
        "warning_signs watch windows worth"
    ),
    "serving": (
        "allowance auth batch batch_pool champion commands current customer_file database decision_log "
        "decision_schemas decisions direct draining experiment_report experiment_schemas experiments explained "
        "gate keys logs metrics migrations outlook personal plan playbook progress quiet_hours "
        "recommendation_schemas recommendations refresh release remembered responses rows schemas score_file "
        "score_history score_table scorer settings shadow shedding state tables template touches workers worth"
    ),
    "serving.routes": "customers decisions experiments models operations scores",
    "serving.web": (
        "aftermath customer_pages digest edition keeper plays portfolio remedies sessions shown snapshots team "
        "team_pages timeline"
    ),
    "experiments.benchmarks": (
        "answering bg_nbd building decisions event_log explaining growth horizons load quality reading "
        "recommendations reference servers simulated_decisions speed steadiness training_set trial_learners "
        "values whole_base"
    ),
    "experiments.simulation": (
        "actions answers batches billing company dynamics exchange history outreach population records support "
        "usage wording"
    ),
}
"""Modules that lay flat under names of their own, before each subject had its package."""
SPANNING = {
    "experiments/simulation/test_simulation.py",
    "features/pillars/test_pillars.py",
    "features/test_command.py",
    "serving/api/test_contract.py",
    "serving/decisions/test_learned_effects.py",
    "serving/platform/test_attacks.py",
    "serving/platform/test_postgresql.py",
    "serving/web/test_morning.py",
    "training/policy/test_hillstrom.py",
    "training/policy/test_without_control.py",
}
"""Tests of what several modules of a package do together; what spans packages is in folders of its own."""


def modules() -> Iterator[Path]:
    """The files of all modules, from the root."""
    for package in PACKAGES:
        yield from (path.relative_to(ROOT) for path in sorted((ROOT / package).rglob("*.py")))


def test_import_contracts_hold() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    result = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_module_imports_itself_by_way_of_others() -> None:
    # Imports for type checkers count: who needs them to say what it takes depends on them.
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=False, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(imports).prepare()


def test_no_module_is_long() -> None:
    lines = {str(path): len((ROOT / path).read_text().splitlines()) for path in modules()}
    assert {path: n for path, n in lines.items() if n > LONGEST_MODULE} == {}


def test_no_package_is_crowded() -> None:
    lie_in = Counter(str(path.parent) for path in modules() if path.name != "__init__.py")
    assert {package: n for package, n in lie_in.items() if n > MOST_MODULES} == {}


def test_no_module_is_where_it_once_was() -> None:
    former = [Path(*package.split("."), f"{name}.py") for package, names in FORMER.items() for name in names.split()]
    assert [str(path) for path in former if (ROOT / path).exists()] == []


def test_tests_mirror_the_modules() -> None:
    tests = [path.relative_to(ROOT / "tests") for path in sorted((ROOT / "tests").glob("*/**/test_*.py"))]
    mirrored = [path for path in tests if path.parts[0] in PACKAGES and str(path) not in SPANNING]
    tested = {path: ROOT / path.parent / path.name.removeprefix("test_") for path in mirrored}
    assert [str(path) for path, module in tested.items() if not module.exists()] == []
    assert [path for path in SPANNING if not (ROOT / "tests" / path).exists()] == []


def test_no_command_of_ours_is_started_where_a_function_can_be_called() -> None:
    """What measures, demonstrates or photographs a command may start it: experiments."""
    started = set()
    for path in modules():
        if path.parts[0] == "experiments":
            continue
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.List | ast.Tuple):
                words = [word.value if isinstance(word, ast.Constant) else None for word in node.elts]
                named = [after for option, after in itertools.pairwise(words) if option == "-m"]
                started |= {(str(path), name) for name in named if str(name).split(".")[0] in PACKAGES}
    assert started == set()


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
