"""The bundle: plain data that comes back whole, or not at all."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from models.errors import BundleError
from models.inference.calibration import Calibration
from models.inference.coverage import Coverage
from models.inference.survival import Hazard
from models.inference.venn_abers import ProbabilityInterval
from models.registry.folder import canonical
from models.registry.model_bundle import GateResult, ModelBundle
from models.scorecard import Scorecard
from models.value.customer_value import Method, ValueModel
from models.value.segmentation import Figure, Segment, Segments

MakeBundle = Callable[..., ModelBundle]


def test_it_comes_back_as_it_was(make_bundle: MakeBundle, tmp_path: Path) -> None:
    bundle = make_bundle()
    bundle.save(tmp_path / "deep" / "bundle")
    assert ModelBundle.load(tmp_path / "deep" / "bundle") == bundle
    assert sorted(path.name for path in (tmp_path / "deep" / "bundle").iterdir()) == [
        "bundle.json",
        "model.onnx",
        "model.txt",
    ]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["bundle"]


PARTS: dict[str, Any] = {
    "interval": ProbabilityInterval((-1.0, 0.5), (0.1, 0.3), (0.2, 0.6)),
    "horizons": Hazard(90, (30, 60, 90, 180), (0.1, 0.2, 0.3, 0.4), (0.0,) * 4, -1.5, -4.0, 1.0),
    "coverage": Coverage((1.0, 0.25, 1.0), (1, 1, 2), 0.9),
}


SEGMENTS = Segments((Figure("tickets_open", None, False, 1.0, 0.5),), (Segment("1", "all"),), ((0.0,),))
PARTS |= {"segments": SEGMENTS, "value": ValueModel(Method.PRICE)}


def test_each_part_is_a_file_of_its_own_and_counts_in_the_hash(make_bundle: MakeBundle, tmp_path: Path) -> None:
    hashes = {make_bundle().hash}
    for size in range(1, 6):
        for names in combinations(PARTS, size):
            bundle = make_bundle(**{name: PARTS[name] for name in names})
            folder = tmp_path / "-".join(names)
            bundle.save(folder)
            assert ModelBundle.load(folder) == bundle
            assert {path.name for path in folder.iterdir()} == {
                "bundle.json", "model.onnx", "model.txt", *(f"{name}.json" for name in names)
            }  # fmt: skip
            hashes.add(bundle.hash)
    assert len(hashes) == 32


def test_a_bundle_from_before_there_were_parts_has_the_hash_it_had(make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    digest = hashlib.sha256()
    for part in (canonical(bundle.content()).encode(), bundle.model_text.encode(), bundle.onnx):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    assert bundle.hash == digest.hexdigest()


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"log_odds": 3}', None])
def test_a_part_that_is_damaged_or_gone_is_one_sentence(
    make_bundle: MakeBundle, tmp_path: Path, name: str, text: str | None
) -> None:
    make_bundle(**PARTS).save(tmp_path / "bundle")
    file = tmp_path / "bundle" / f"{name}.json"
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    with pytest.raises(BundleError, match=r"damaged|changed after training"):
        ModelBundle.load(tmp_path / "bundle")


def test_what_stands_is_never_overwritten(make_bundle: MakeBundle, tmp_path: Path) -> None:
    make_bundle().save(tmp_path / "bundle")
    with pytest.raises(BundleError, match="stands there already"):
        make_bundle(horizon_days=30).save(tmp_path / "bundle")
    assert ModelBundle.load(tmp_path / "bundle").horizon_days == 90


def test_the_hash_is_of_the_model_and_not_of_the_run(make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    again = make_bundle(run_id="r2", commit=None, trained_at=datetime(2027, 1, 1, tzinfo=UTC))
    assert again.hash == bundle.hash
    changes: list[dict[str, object]] = [
        {"model_text": bundle.model_text + "\n"},
        {"onnx": bundle.onnx + b"\0"},
        {"calibration": Calibration(1.1, -0.04)},
        {"categories": {"plan": ("größer", "basic")}},
        {"typical": {"plan": "größer"}},
        {"scorecard_proposal": Scorecard("1", 0.5, 9.5)},
        {"gates": {"ece": GateResult(False, 0.01, 0.03)}},
        {"metrics": {"auc": 0.9}},
        {"prior": 0.5},
        {"horizon_days": 30},
        {"business": "other"},
        {"data_fingerprint": "cd" * 32},
    ]
    hashes = {make_bundle(**change).hash for change in changes}
    assert len(hashes) == len(changes)
    assert bundle.hash not in hashes


@pytest.mark.parametrize("name", ["bundle.json", "model.txt", "model.onnx"])
def test_a_missing_or_changed_file_is_one_sentence(make_bundle: MakeBundle, tmp_path: Path, name: str) -> None:
    make_bundle().save(tmp_path / "bundle")
    file = tmp_path / "bundle" / name
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleError, match=r"damaged|changed after training"):
        ModelBundle.load(tmp_path / "bundle")
    file.unlink()
    with pytest.raises(BundleError, match=f"no whole bundle: {name} cannot be read"):
        ModelBundle.load(tmp_path / "bundle")


def test_a_figure_changed_by_hand_is_noticed(make_bundle: MakeBundle, tmp_path: Path) -> None:
    make_bundle().save(tmp_path / "bundle")
    file = tmp_path / "bundle" / "bundle.json"
    manifest = json.loads(file.read_text())
    manifest["content"]["calibration"]["intercept"] = 0.5
    file.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="changed after training"):
        ModelBundle.load(tmp_path / "bundle")


@pytest.mark.parametrize("text", ["[]", "{}", '{"format_version": 99}'])
def test_another_format_says_what_to_do(make_bundle: MakeBundle, tmp_path: Path, text: str) -> None:
    make_bundle().save(tmp_path / "bundle")
    (tmp_path / "bundle" / "bundle.json").write_text(text)
    with pytest.raises(BundleError, match="train again"):
        ModelBundle.load(tmp_path / "bundle")


@pytest.mark.parametrize(
    "content", [{}, {"content": {}, "run": {}, "hash": ""}, {"content": [], "run": {}, "hash": ""}, {"content": None}]
)
def test_a_mangled_manifest_is_damage(make_bundle: MakeBundle, tmp_path: Path, content: dict[str, object]) -> None:
    make_bundle().save(tmp_path / "bundle")
    (tmp_path / "bundle" / "bundle.json").write_text(json.dumps({"format_version": 1} | content))
    with pytest.raises(BundleError, match="damaged"):
        ModelBundle.load(tmp_path / "bundle")


def test_what_has_no_json_is_refused_before_anything_is_written(make_bundle: MakeBundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no plain, finite data"):
        make_bundle(metrics={"auc": float("nan")}).save(tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []
    bundle = make_bundle(typical={"tickets_open": float("nan")})
    bundle.save(tmp_path / "bundle")
    assert ModelBundle.load(tmp_path / "bundle").typical == {"tickets_open": None}, "a typical customer has none"


def test_a_bundle_that_contradicts_itself_is_refused(make_bundle: MakeBundle) -> None:
    with pytest.raises(BundleError, match="no feature of it"):
        make_bundle(categories={"colour": ("red",)})
    with pytest.raises(BundleError, match="every feature name once"):
        make_bundle(feature_names=("a", "a"))
    with pytest.raises(BundleError, match="time zone"):
        make_bundle(trained_at=datetime(2026, 1, 1))


def test_a_folder_that_cannot_be_written_is_one_sentence(make_bundle: MakeBundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot be written"):
        make_bundle().save(tmp_path / "file" / "bundle")


def test_a_kill_leaves_a_whole_bundle_or_none(make_bundle: MakeBundle, tmp_path: Path) -> None:
    make_bundle().save(tmp_path / "source")
    saving = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import itertools, sys\n"
            "from pathlib import Path\n"
            "from models.registry.model_bundle import ModelBundle\n"
            "home = Path(sys.argv[1])\n"
            "bundle = ModelBundle.load(home / 'source')\n"
            "for i in itertools.count(): bundle.save(home / f'copy-{i}')\n",
            str(tmp_path),
        ],
        cwd=Path(__file__).parents[3],
    )
    deadline = time.monotonic() + 300
    while not (tmp_path / "copy-5").exists():
        assert saving.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    saving.send_signal(signal.SIGKILL)
    saving.wait()
    copies = list(tmp_path.glob("copy-*"))
    assert len(copies) > 5
    for copy in copies:
        ModelBundle.load(copy)
