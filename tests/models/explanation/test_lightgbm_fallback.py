"""Without the compiled kernels, for whatever reason, explanations are the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.explanation import kernel_cache
from models.explanation.kernel_cache import KernelsUnavailable, load_kernels
from models.explanation.tree_shap import KernelTrees, TreeShap

from .test_tree_shap import Case, agree, around_thresholds, case


@pytest.fixture
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose object file is of another processor, and that has no Numba to make one."""

    def elsewhere(_: bytes) -> None:
        raise RuntimeError("Unable to parse object file")

    monkeypatch.setattr(kernel_cache, "_loaded", [])
    monkeypatch.setattr(kernel_cache, "_link", elsewhere)


@pytest.mark.parametrize("categorical", [0, 2])
def test_a_broken_kernel_changes_no_figure(
    categorical: int, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    compiled = case(11, categorical=categorical, features=6)
    assert isinstance(compiled.shap._trees, KernelTrees)
    request.getfixturevalue("no_kernels")
    shap = TreeShap(compiled.booster.model_to_string())
    assert not isinstance(shap._trees, KernelTrees)
    assert "Unable to parse object file" in caplog.text
    rows = np.vstack([compiled.X, around_thresholds(compiled)])
    np.testing.assert_allclose(shap.contributions(rows), compiled.shap.contributions(rows), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(shap.contributions(rows, threads=2), shap.contributions(rows))
    np.testing.assert_array_equal(shap.leaves(rows), compiled.shap.leaves(rows))
    np.testing.assert_array_equal(shap.margin(rows), compiled.shap.margin(rows))
    assert shap.base_value == compiled.shap.base_value
    assert shap.contributions(rows[:0]).shape == (0, 7)
    agree(Case(compiled.booster, shap, compiled.X), rows)


@pytest.mark.usefixtures("no_kernels")
def test_a_compiler_that_failed_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KernelsUnavailable, match="object file"):
        load_kernels()
    monkeypatch.setattr(kernel_cache, "_object_code", lambda _: pytest.fail("asked again"))
    with pytest.raises(KernelsUnavailable, match="object file"):
        load_kernels()


def test_what_is_missing_may_be_the_compiler_or_all_of_llvm(tmp_path: Path) -> None:
    made = case(3)
    model = tmp_path / "model.txt"
    model.write_text(made.booster.model_to_string())
    wanted = made.shap.contributions(np.full((1, made.shap.n_features), 0.25))
    for missing in ("numba", "llvmlite"):
        program = (
            f"import sys; sys.modules[{missing!r}] = None\n"
            "import numpy as np; from pathlib import Path; from models.explanation.tree_shap import TreeShap\n"
            f"shap = TreeShap(Path({str(model)!r}).read_text(), cache=Path({str(tmp_path / missing)!r}))\n"
            "print(shap.contributions(np.full((1, shap.n_features), 0.25)).tolist())"
        )
        root = Path(kernel_cache.__file__).parents[2]
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        assert "LightGBM's own" in done.stderr
        np.testing.assert_allclose(np.array(json.loads(done.stdout)), wanted, rtol=0, atol=1e-9)
