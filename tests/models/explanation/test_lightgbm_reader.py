"""Boosters that cannot be explained are refused in words, and damaged text never reaches the kernels."""

from __future__ import annotations

import re
from collections.abc import Callable

import lightgbm
import numpy as np
import pytest

from models.explanation.lightgbm_reader import BoosterError, parse_booster

QUIET = {"verbosity": -1, "num_threads": 1, "deterministic": True, "seed": 1, "min_data_in_leaf": 5}


def text_of(n_classes: int = 2, rounds: int = 3, **params: object) -> str:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(200, 4))
    X[:, 3] = rng.integers(0, 40, 200)
    y = rng.integers(0, n_classes, 200)
    y = np.where(X[:, 3] % 3 == 0, 0, y)
    dataset = lightgbm.Dataset(X, y, categorical_feature=[3])
    settings = {"objective": "binary", "num_leaves": 6, "cat_smooth": 1, "min_data_per_group": 5, **QUIET, **params}
    return str(lightgbm.train(settings, dataset, rounds).model_to_string())


@pytest.fixture(scope="module")
def text() -> str:
    return text_of()


def test_reads_every_tree_as_lightgbm_dumps_it(text: str) -> None:
    forest = parse_booster(text)
    dump = lightgbm.Booster(model_str=text).dump_model()["tree_info"]
    assert forest.n_trees == len(dump) == 3
    assert forest.n_features == 4
    assert forest.feature_names == ("Column_0", "Column_1", "Column_2", "Column_3")
    assert (forest.decision & 1).any()
    for tree, info in enumerate(dump):
        pending = [info["tree_structure"]]
        seen = 0
        while pending:
            node = pending.pop()
            if "split_index" not in node:
                leaf = forest.leaf_start[tree] + node["leaf_index"]
                assert forest.leaf_value[leaf] == node["leaf_value"]
                assert forest.leaf_count[leaf] == node["leaf_count"]
                continue
            seen += 1
            at = forest.node_start[tree] + node["split_index"]
            assert forest.feature[at] == node["split_feature"]
            assert forest.node_count[at] == node["internal_count"]
            if node["decision_type"] == "<=":
                assert forest.threshold[at] == node["threshold"]
                assert bool(forest.decision[at] & 2) == node["default_left"]
            else:
                words = forest.category_bits[forest.category_start[at] :][: forest.category_words[at]]
                categories = [32 * w + b for w, word in enumerate(words) for b in range(32) if int(word) >> b & 1]
                assert categories == [int(name) for name in node["threshold"].split("||")]
            pending += [node["left_child"], node["right_child"]]
        assert seen == forest.node_start[tree + 1] - forest.node_start[tree]


def test_reads_trees_that_never_split() -> None:
    forest = parse_booster(text_of(min_data_in_leaf=150, rounds=1))
    assert forest.n_trees == 1
    assert len(forest.feature) == 0
    assert len(forest.leaf_value) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: text_of(objective="multiclass", num_class=3, n_classes=3), "several classes"),
        (lambda: text_of(objective="regression"), "regression does not give log-odds"),
        (lambda: text_of(sigmoid=0.7), "sigmoid 0.7"),
        (lambda: text_of(boosting="rf", bagging_fraction=0.5, bagging_freq=1), "boosting=rf"),
        (lambda: text_of(linear_tree=True), "Tree 0 has linear leaves"),
    ],
)
def test_refuses_other_kinds_of_boosters(make: Callable[[], str], message: str) -> None:
    with pytest.raises(BoosterError, match=re.escape(message)):
        parse_booster(make())


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"\nend of trees[\s\S]*", "", "cut short"),
        (r"max_feature_idx=3\n", "", "not the text of a LightGBM booster"),
        (r"max_feature_idx=3\n", "max_feature_idx=three\n", "'three', which is not a whole number"),
        (r"max_feature_idx=3\n", "max_feature_idx=0\n", "splits on a feature outside 0 to 0"),
        (r"\nTree=[\s\S]*\nend of trees", "\nend of trees", "has no tree"),
        (r"num_leaves=\d+\n", "num_leaves=0\n", "less than one"),
        (r"num_leaves=\d+\n", "", "num_leaves"),
        (r"threshold=\S+ ", "threshold=", "threshold has 4 entries, not 5"),
        (r"threshold=\S+ ", "threshold=twelve ", "not a number"),
        (r"\nthreshold=.*\n", "\n", "lacks the field threshold"),
        (r"leaf_value=\S+ ", "leaf_value=nan ", "leaf_value holds something that is not a number"),
        (r"left_child=\S+ ", "left_child=0 ", "do not form a tree"),
        (r"right_child=\S+ ", "right_child=77 ", "do not form a tree"),
        (r"decision_type=\S+ ", "decision_type=12 ", "unknown kind of missing value"),
        (r"internal_count=\S+ ", "internal_count=0 ", "no training row reached"),
        (r"leaf_count=\S+ ", "leaf_count=-1 ", "negative"),
        (r"cat_boundaries=0 ", "cat_boundaries=1 ", "does not grow from zero"),
        (r"cat_threshold=\S+", "cat_threshold=4294967296", "not a number"),
    ],
)
def test_says_where_a_text_is_damaged(text: str, pattern: str, replacement: str, message: str) -> None:
    damaged, times = re.subn(pattern, replacement, text, count=1)
    assert times == 1
    with pytest.raises(BoosterError, match=re.escape(message)):
        parse_booster(damaged)


def test_a_tree_with_a_cycle_is_refused(text: str) -> None:
    forest = parse_booster(text)
    inner = int(forest.left[forest.left > 0][0])
    with pytest.raises(BoosterError, match="do not form a tree"):
        parse_booster(re.sub(rf"(left_child=(?:\S+ )*){inner}(?= |\n)", r"\g<1>0", text, count=1))
