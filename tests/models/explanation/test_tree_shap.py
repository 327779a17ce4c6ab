"""The fast explanation is held to LightGBM's own, on random and on adversarial rows."""

from __future__ import annotations

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.arrays import FloatArray
from models.explanation import kernel_cache
from models.explanation.tree_shap import BoosterError, TreeShap

TINY = float(np.float32(1e-35))
ODD = (0.0, -0.0, np.inf, -np.inf, np.nan, TINY, -TINY, TINY / 2, 1e-40, -1e-40, 0.5, -0.5, -1.0, 1e9, 3e9, -3e9, 1e300)


@dataclass(frozen=True, slots=True)
class Case:
    """A booster, its fast explanation, and rows like those it was trained on."""

    booster: lightgbm.Booster
    shap: TreeShap
    X: FloatArray


def case(
    seed: int,
    *,
    n: int = 300,
    features: int = 5,
    categorical: int = 0,
    levels: int = 12,
    missing: float = 0.1,
    zeros: float = 0.0,
    rounds: int = 8,
    weights: bool = False,
    **params: object,
) -> Case:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, features)) * rng.choice([1e-3, 1.0, 1e4], features)
    X[:, features // 2] = 3.0
    X[:, 0] = np.round(X[:, 0])
    for feature in range(features - categorical, features):
        X[:, feature] = rng.integers(0, levels, n) * rng.choice([1, 37])
    X[rng.random(X.shape) < zeros] = 0.0
    X[rng.random(X.shape) < missing] = np.nan
    X = X.astype(np.float32).astype(np.float64)
    known = np.nan_to_num(X)
    risk = np.where(np.isnan(X[:, 0]), 1.0, np.sign(known[:, 0])) * np.sign(known[:, 1]) + (known[:, -1] % 3 == 1)
    y = (rng.random(n) < 1 / (1 + np.exp(-2 * risk))).astype(int)
    dataset = lightgbm.Dataset(
        X,
        y,
        weight=rng.random(n) + 0.5 if weights else None,
        categorical_feature=list(range(features - categorical, features)),
        params={"verbosity": -1, "min_data_in_bin": 1, "zero_as_missing": params.get("zero_as_missing", False),
                "use_missing": params.get("use_missing", True)},
    )  # fmt: skip
    booster = lightgbm.train(
        {
            "objective": "binary", "num_leaves": 8, "learning_rate": 0.3, "verbosity": -1, "num_threads": 1, "seed": 1,
            "deterministic": True, "min_data_in_leaf": 2, "min_data_per_group": 2, "cat_smooth": 1.0, "cat_l2": 1.0,
            "max_cat_to_onehot": 4, **params,
        },
        dataset,
        rounds,
    )  # fmt: skip
    return Case(booster, TreeShap(booster.model_to_string()), X)


def explained(booster: lightgbm.Booster, X: FloatArray) -> FloatArray:
    contributions: FloatArray = booster.predict(X, pred_contrib=True, num_threads=1)
    return contributions


def agree(case: Case, X: FloatArray) -> None:
    """Contributions, leaves, margins and sums are LightGBM's."""
    fast = case.shap.contributions(X)
    assert fast.dtype == np.float64
    np.testing.assert_allclose(fast, explained(case.booster, X), rtol=1e-9, atol=1e-8)
    np.testing.assert_array_equal(fast[:, -1], case.shap.base_value)
    leaves = np.asarray(case.booster.predict(X, pred_leaf=True, num_threads=1)).reshape(len(X), -1)
    np.testing.assert_array_equal(case.shap.leaves(X), leaves)
    margin = case.booster.predict(X, raw_score=True, num_threads=1)
    np.testing.assert_allclose(case.shap.margin(X), margin, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(fast.sum(axis=1), margin, rtol=1e-9, atol=1e-9)


def around_thresholds(case: Case, dtype: type = np.float32) -> FloatArray:
    """Rows with one value on a threshold, or one representable number beside it, for every threshold of the booster."""
    rows: list[FloatArray] = []
    for tree in case.booster.dump_model()["tree_info"]:
        pending = [tree["tree_structure"]]
        while pending:
            node = pending.pop()
            if "split_feature" not in node:
                continue
            pending += [node["left_child"], node["right_child"]]
            if node["decision_type"] == "<=":
                with np.errstate(over="ignore"):
                    near: NDArray[np.floating] = np.array([node["threshold"]]).astype(dtype)
                for value in (near, np.nextafter(near, dtype(-np.inf)), np.nextafter(near, dtype(np.inf))):
                    row = case.X[len(rows) % len(case.X)].copy()
                    row[node["split_feature"]] = value[0]
                    rows.append(row)
    return np.array(rows)


def adversarial(case: Case) -> FloatArray:
    """Rows of odd values, alone among ordinary ones and all alike."""
    d = case.X.shape[1]
    mixed = np.repeat(case.X[:1], len(ODD) * d, axis=0)
    for k, value in enumerate(ODD):
        for feature in range(d):
            mixed[k * d + feature, feature] = value
    return np.vstack([mixed, np.repeat(np.array(ODD)[:, None], d, axis=1)])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    features=st.integers(2, 9),
    categorical=st.integers(0, 2),
    levels=st.sampled_from([2, 5, 40, 300]),
    missing=st.sampled_from([0.0, 0.05, 0.6]),
    zeros=st.sampled_from([0.0, 0.3]),
    weights=st.booleans(),
    params=st.fixed_dictionaries(
        {
            "num_leaves": st.sampled_from([2, 3, 8, 40]),
            "zero_as_missing": st.booleans(),
            "use_missing": st.booleans(),
            "boosting": st.sampled_from(["gbdt", "dart"]),
            "boost_from_average": st.booleans(),
            "max_depth": st.sampled_from([-1, 1, 4]),
            "max_cat_to_onehot": st.sampled_from([1, 4, 64]),
            "bagging_fraction": st.sampled_from([1.0, 0.6]),
            "bagging_freq": st.just(1),
            "extra_trees": st.booleans(),
            "linear_tree": st.just(False),
        }
    ),
)
def test_equals_lightgbm_on_any_booster(
    seed: int, features: int, categorical: int, levels: int, missing: float, zeros: float, weights: bool,
    params: dict[str, Any],
) -> None:  # fmt: skip
    made = case(seed, n=120, features=features, categorical=min(categorical, features - 1), levels=levels,
                missing=missing, zeros=zeros, weights=weights, rounds=4, **params)  # fmt: skip
    agree(made, np.vstack([made.X[:20], adversarial(made)]))


@pytest.fixture(scope="module", params=["nan", "zero", "none"])
def mixed(request: pytest.FixtureRequest) -> Case:
    """Numbers and categories under each of LightGBM's three treatments of missing values."""
    missing: dict[str, dict[str, Any]] = {
        "nan": {}, "zero": {"zero_as_missing": True}, "none": {"use_missing": False},
    }  # fmt: skip
    return case(11, features=8, categorical=3, levels=70, zeros=0.1, rounds=25, num_leaves=31, **missing[request.param])


def test_equals_lightgbm_on_odd_values(mixed: Case) -> None:
    agree(mixed, adversarial(mixed))


def test_equals_lightgbm_on_every_threshold(mixed: Case) -> None:
    rows = around_thresholds(mixed)
    assert len(rows) > 500
    agree(mixed, rows)
    agree(mixed, around_thresholds(mixed, np.float64))


def test_float32_rows_give_what_float64_rows_give(mixed: Case) -> None:
    rows = around_thresholds(mixed)
    narrow = rows.astype(np.float32)
    assert np.array_equal(narrow, rows, equal_nan=True)
    np.testing.assert_array_equal(mixed.shap.contributions(narrow), mixed.shap.contributions(rows))


def test_every_category_known_and_unseen(mixed: Case) -> None:
    rows = np.repeat(mixed.X[:1], 400, axis=0)
    rows[:, -1] = np.arange(-20, 380) * 10
    rows[:, -2] = np.arange(-200, 200) / 2
    agree(mixed, rows)


def test_large_category_numbers() -> None:
    rng = np.random.default_rng(2)
    X = np.column_stack([rng.choice([3.0, 2_000_003.0, 17_000_000.0], 300), rng.normal(size=300)])
    y = ((X[:, 0] > 5) ^ (X[:, 1] > 0)).astype(int)
    dataset = lightgbm.Dataset(X, y, categorical_feature=[0])
    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 6}, dataset, 5)
    agree(
        Case(booster, TreeShap(booster.model_to_string()), X), np.vstack([X, [[17_000_001.0, 1.0], [2_000_003.5, 0.0]]])
    )


def by_definition(booster: lightgbm.Booster, row: FloatArray) -> FloatArray:
    """Contributions leaf by leaf from Shapley's weights, with sums of positive numbers only: slow, and exact at any depth."""
    contributions = np.zeros(booster.num_feature() + 1)
    for tree in booster.dump_model()["tree_info"]:
        pending: list[tuple[dict[str, Any], dict[int, tuple[float, bool]]]] = [(tree["tree_structure"], {})]
        while pending:
            node, path = pending.pop()
            if "split_feature" in node:
                feature = node["split_feature"]
                share, passed = path.get(feature, (1.0, True))
                left = bool(row[feature] <= node["threshold"])
                for child, taken in ((node["left_child"], left), (node["right_child"], not left)):
                    count = child["internal_count"] if "split_feature" in child else child["leaf_count"]
                    joined = (share * count / node["internal_count"], passed and taken)
                    pending.append((child, path | {feature: joined}))
                continue
            d = len(path)
            contributions[-1] += node["leaf_value"] * math.prod(share for share, _ in path.values())
            for feature, (share, passed) in path.items():
                ways = np.ones(1)
                for other, (known, met) in path.items():
                    if other != feature:
                        ways = np.convolve(ways, [known, float(met)])
                weights = [1 / (d * math.comb(d - 1, size)) for size in range(d)]
                contributions[feature] += node["leaf_value"] * (passed - share) * float(ways @ weights)
    return contributions


def staircase(features: int, leaves: int) -> tuple[Case, int]:
    """Trees grown down one path, and how many features their longest path tests."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(6000, features)).astype(np.float32).astype(np.float64)
    y = (np.argmax(X < -1.6, axis=1) % 2 == 0).astype(int)
    booster = lightgbm.train(
        {"objective": "binary", "num_leaves": leaves, "min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 0,
         "verbosity": -1, "num_threads": 1, "seed": 1, "learning_rate": 0.2},
        lightgbm.Dataset(X, y),
        3,
    )  # fmt: skip

    def longest(node: dict[str, Any], above: frozenset[int]) -> int:
        if "split_feature" not in node:
            return len(above)
        here = above | {node["split_feature"]}
        return max(longest(node["left_child"], here), longest(node["right_child"], here))

    trees = booster.dump_model()["tree_info"]
    made = Case(booster, TreeShap(booster.model_to_string()), X)
    return made, max(longest(tree["tree_structure"], frozenset()) for tree in trees)


@pytest.mark.parametrize(("features", "leaves", "deepest"), [(30, 255, 20), (3, 255, 3)], ids=["deep", "repeats"])
def test_deep_trees(features: int, leaves: int, deepest: int) -> None:
    """Paths longer than one vector of quadrature nodes can integrate, and features tested again and again."""
    made, longest = staircase(features, leaves)
    assert longest >= deepest
    agree(made, made.X[:50])
    agree(made, around_thresholds(made)[:50])
    for row in made.X[:2]:
        np.testing.assert_allclose(made.shap.contributions(row[None])[0], by_definition(made.booster, row), atol=1e-12)


def chain(d: int) -> str:
    """A booster of one path: each node tests one feature, a hundredth of its rows go on, and only the last leaf pays."""
    counts = [100.0**k for k in range(d, -1, -1)]
    inner = " ".join(str(k) for k in range(1, d)) + f" -{d + 1}" if d > 1 else f"-{d + 1}"
    fields = {
        "num_leaves": d + 1,
        "split_feature": " ".join(str(k) for k in range(d)),
        "threshold": " ".join(["0.5"] * d),
        "decision_type": " ".join(["2"] * d),
        "left_child": inner.strip(),
        "right_child": " ".join(str(-k - 1) for k in range(d)),
        "leaf_value": " ".join(["0"] * d + ["1"]),
        "leaf_count": " ".join(str(counts[k] - counts[k + 1]) for k in range(d)) + f" {counts[d]}",
        "internal_count": " ".join(str(count) for count in counts[:-1]),
    }
    tree = "\n".join(f"{name}={value}" for name, value in fields.items())
    return f"tree\nmax_feature_idx={d - 1}\nobjective=binary sigmoid:1\n\nTree=0\n{tree}\n\nend of trees\n"


@pytest.mark.parametrize("d", [1, 2, 3, 8, 15, 16, 17, 31, 32, 33, 48, 49, 100])
def test_each_depth_has_enough_quadrature_nodes(d: int) -> None:
    """The row that passes every test owes each of them the same, which one quadrature node too few would miss."""
    contributions = TreeShap(chain(d)).contributions(np.zeros((1, d)))[0, :-1]
    np.testing.assert_allclose(contributions, (1 - 0.01**d) / d, rtol=1e-13)


def test_deeper_than_lightgbm_can_count() -> None:
    """Past some 30 features on a path LightGBM's own sums lose digits, so the definition decides."""
    made, longest = staircase(60, 60)
    assert longest > 32
    fast = made.shap.contributions(made.X[:200])
    exact = np.array([by_definition(made.booster, row) for row in made.X[20:22]])
    np.testing.assert_allclose(fast[20:22], exact, atol=1e-12)
    np.testing.assert_allclose(fast, explained(made.booster, made.X[:200]), atol=1e-4)
    margin = made.booster.predict(made.X[:200], raw_score=True, num_threads=1)
    np.testing.assert_allclose(fast.sum(axis=1), margin, atol=1e-12)


def test_monotone_constraints_and_refit() -> None:
    made = case(4, features=4, monotone_constraints=[1, -1, 0, 0], num_leaves=12)
    agree(made, made.X)
    refitted = made.booster.refit(made.X[::-1], np.arange(len(made.X)) % 2)
    agree(Case(refitted, TreeShap(refitted.model_to_string()), made.X), made.X[:40])


def test_trees_that_never_split() -> None:
    made = case(1, n=60, min_data_in_leaf=50, rounds=1)
    assert made.shap.contributions(made.X[:2])[:, :-1].tolist() == [[0.0] * 5] * 2
    agree(made, made.X)
    # One tree splits, the next cannot.
    text = made.booster.model_to_string()
    lone = text[text.index("\nTree=0") : text.index("\nend of trees")]
    split = case(1, n=60, rounds=2).booster.model_to_string()
    joined = split.replace("\nend of trees", lone.replace("Tree=0", "Tree=2") + "\nend of trees", 1)
    sizes = joined.index("tree_sizes=")
    joined = joined[:sizes] + joined[joined.index("\n", sizes) + 1 :]
    agree(Case(lightgbm.Booster(model_str=joined), TreeShap(joined), made.X), made.X)


def test_early_stopped_text_explains_the_best_iteration() -> None:
    made = case(6)
    made.booster.best_iteration = 3
    agree(Case(made.booster, TreeShap(made.booster.model_to_string()), made.X), made.X[:30])


def test_neither_threads_nor_company_change_a_row(mixed: Case) -> None:
    rows = np.vstack([mixed.X, around_thresholds(mixed)]).repeat(3, axis=0)
    assert len(rows) > 2 * 2048
    alone = np.vstack([mixed.shap.contributions(rows[i : i + 1]) for i in range(0, 900, 7)])
    together = mixed.shap.contributions(rows)
    np.testing.assert_array_equal(alone, together[0:900:7])
    np.testing.assert_array_equal(mixed.shap.contributions(rows, threads=2), together)
    np.testing.assert_array_equal(mixed.shap.contributions(rows[::-1])[::-1], together)


def test_one_explanation_serves_many_threads(mixed: Case) -> None:
    wanted = mixed.shap.contributions(mixed.X)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda i: mixed.shap.contributions(mixed.X[i : i + 1]), list(range(100)) * 4))
    np.testing.assert_array_equal(np.vstack(answers), np.vstack([wanted[:100]] * 4))


def test_rows_need_not_be_contiguous_nor_many(mixed: Case) -> None:
    wanted = mixed.shap.contributions(mixed.X)
    np.testing.assert_array_equal(mixed.shap.contributions(np.asfortranarray(mixed.X)), wanted)
    np.testing.assert_array_equal(mixed.shap.contributions(mixed.X[::3]), wanted[::3])
    assert mixed.shap.contributions(mixed.X[:0]).shape == (0, mixed.X.shape[1] + 1)
    assert mixed.shap.leaves(mixed.X[:0]).shape == (0, 25)
    before = mixed.X.copy()
    mixed.shap.contributions(mixed.X)
    np.testing.assert_array_equal(mixed.X, before)


def test_wrong_shapes_and_damaged_texts_are_refused(mixed: Case) -> None:
    with pytest.raises(ValueError, match=r"\(1, 3\), but the booster needs \(n, 8\)"):
        mixed.shap.contributions(np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"\(8,\), but the booster needs"):
        mixed.shap.leaves(np.zeros(8))
    with pytest.raises(BoosterError, match="max_feature_idx"):
        TreeShap("no booster")


EXPLAIN = """
import sys, numpy as np
from pathlib import Path
from models.explanation.tree_shap import TreeShap
shap = TreeShap(Path(sys.argv[1]).read_text(), cache=Path(sys.argv[2]))
print(shap.contributions(np.full((1, shap.n_features), 0.25)).tobytes().hex(), "numba" in sys.modules)
"""


def start(model: Path, cache: Path) -> subprocess.Popen[str]:
    root = Path(kernel_cache.__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", EXPLAIN, str(model), str(cache)],
        cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def outcome(process: subprocess.Popen[str]) -> tuple[str, bool]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    contributions, imported = out.split()
    return contributions, imported == "True"


@pytest.mark.slow
def test_kernels_are_compiled_once_and_then_read(tmp_path: Path) -> None:
    """Two processes that compile at once, a reader after them, a torn file, and a folder that can only be read."""
    model, cache = tmp_path / "model.txt", tmp_path / "cache"
    made = case(3)
    model.write_text(made.booster.model_to_string())
    wanted = made.shap.contributions(np.full((1, made.shap.n_features), 0.25)).tobytes().hex()
    both = [start(model, cache), start(model, cache)]
    assert [outcome(process) for process in both] == [(wanted, True), (wanted, True)]
    (kept,) = cache.iterdir()
    good = kept.read_bytes()
    assert outcome(start(model, cache)) == (wanted, False)
    kept.write_bytes(good[:1000])
    assert outcome(start(model, cache)) == (wanted, True)
    assert kept.read_bytes()[:32] == kernel_cache._CHECKSUM(kept.read_bytes()[32:]).digest()
    kept.chmod(0o444)
    cache.chmod(0o555)
    assert outcome(start(model, cache)) == (wanted, False)
    cache.chmod(0o755)


@pytest.mark.slow
def test_no_place_for_kernels_is_no_failure(tmp_path: Path) -> None:
    model, file = tmp_path / "model.txt", tmp_path / "file"
    made = case(3)
    model.write_text(made.booster.model_to_string())
    file.write_text("not a folder")
    process = start(model, file / "cache")
    contributions, imported = outcome(process)
    assert imported
    assert contributions == made.shap.contributions(np.full((1, made.shap.n_features), 0.25)).tobytes().hex()
