"""What a training run finds out about customers beside their risk: what they are worth, and which of them are alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from features.config.business import Business
from features.config.expression import Expression
from features.generation import Generation
from features.home import Home
from features.store.offline import OfflineStore
from models.arrays import FloatArray, Rows
from models.errors import ModelsError
from models.inference.calibration import logit
from models.registry.registry import Registry
from models.scorecard import Scorecard
from models.value.customer_value import MONTHS, PRICE, Method, ValueModel, Valuer
from models.value.segmentation import Segments
from training.churn.fit import FittedModel
from training.dataset.labels import entity_frame
from training.dataset.prepare import Prepared
from training.evaluation.held_out import HeldOutPredictions
from training.value.segmentation import FoundSegments, assigned, find_segments
from training.value.spend import LearnedValue, ValueReport, histories_of, learned_value


@dataclass(frozen=True, slots=True)
class SegmentSummary:
    """One segment among the tested rows: how many, how many left, what was foretold, and what they are worth on average."""

    id: str
    name: str
    customers: int
    share: float
    churn_rate: float | None
    churn_probability: float | None
    health: float | None
    value_next_12_months: float | None


@dataclass(frozen=True, slots=True)
class LearnedWorth:
    """The bundle's two parts, and the report's."""

    value: LearnedValue | None
    segments: FoundSegments | None
    summaries: Sequence[SegmentSummary]
    warnings: Sequence[str] = ()

    @property
    def value_model(self) -> ValueModel | None:
        """The bundle's part."""
        return None if self.value is None else self.value.model

    @property
    def segment_model(self) -> Segments | None:
        """The bundle's part."""
        return None if self.segments is None else self.segments.segments

    @property
    def value_report(self) -> ValueReport | None:
        """How the method of value was found."""
        return None if self.value is None else self.value.report

    def segments_json(self) -> dict[str, Any] | None:
        """The report's `segments`."""
        if self.segments is None:
            return None
        return {
            "kept_from_champion": self.segments.kept,
            "stability": self.segments.stability,
            "segments": [asdict(summary) for summary in self.summaries],
        }


def learned_worth(
    generation: Generation,
    business: Business,
    prepared: Prepared,
    model: FittedModel,
    tested: HeldOutPredictions,
    scorecard: Scorecard,
    former: Segments | None,
) -> LearnedWorth:
    """Value and segments of a business's customers, as far as its data tell.

    Args:
        tested: the rows that segments are found among and told of, with their probabilities; no outcome is foretold here,
            so that the newest rows may show who is alike.
        former: the champion's segments.
    """
    value, warnings = learned_value(generation, business, prepared, model)
    segments = find_segments(prepared.everything, _newest(prepared, tested.rows), former)
    summaries: list[SegmentSummary] = []
    if segments is not None:
        worth = None if value is None else _value_of(value.model, generation, business, prepared, model, tested)
        summaries = _summaries(segments.segments, prepared, tested, scorecard, worth)
    return LearnedWorth(value, segments, summaries, warnings)


def champions_segments(registry: Registry, home: Home) -> Segments | None:
    """The segments that people know by now; None where no champion has any."""
    try:
        champion = registry.champion()
        return None if champion is None else registry.load(champion, home.path / "bundles").segments
    except ModelsError:
        return None  # a champion that is gone does not keep another from being trained


def _newest(prepared: Prepared, rows: Rows) -> Rows:
    """The rows of the newest window: of each customer one."""
    if not prepared.cutoffs.test:
        return rows
    moments = prepared.data.labels.event_timestamp[rows]
    return np.asarray(rows[moments == moments.max()])


def _value_of(
    value: ValueModel,
    generation: Generation,
    business: Business,
    prepared: Prepared,
    model: FittedModel,
    tested: HeldOutPredictions,
) -> FloatArray:
    """What the customers of the tested rows are worth, (n,); NaN where that is not known."""
    labels = prepared.data.labels
    chosen = entity_frame(labels).iloc[tested.rows]
    store, valuer = OfflineStore(generation), Valuer(value)
    if value.purchases is not None:
        histories = histories_of(store, chosen)
        year = valuer.of_purchases(histories, prepared.data.X(tested.rows, model.categories))[1]
        return np.where(histories.count > 0.0, year, np.nan)
    if value.method is Method.PRICE:
        a_year = store.training_frame(chosen, [PRICE])[PRICE].to_numpy(dtype=np.float64) * MONTHS
        return valuer.of_price(a_year, tested.p, generation.horizon_days)
    assert business.value is not None
    stated = Expression.parse(business.value.at_stake, f"{business.path}: [value] at_stake")
    frame = store.training_frame(chosen, sorted(stated.columns))
    rows = [
        {name: None if value != value else value for name, value in row.items()}
        for row in frame[sorted(stated.columns)].to_dict("records")
    ]
    found = [stated.evaluate({str(name): cell for name, cell in row.items()}) for row in rows]
    a_year = np.array([math.nan if one is None else one for one in found], dtype=np.float64)
    return valuer.of_price(a_year, tested.p, generation.horizon_days)


def _summaries(
    segments: Segments, prepared: Prepared, tested: HeldOutPredictions, scorecard: Scorecard, worth: FloatArray | None
) -> list[SegmentSummary]:
    place = assigned(segments, prepared.everything, tested.rows)
    y = prepared.data.y[tested.rows]
    health = np.clip(scorecard.unclamped(logit(tested.p)), 0.0, 100.0)
    summaries = []
    for number, segment in enumerate(segments.segments):
        mine = place == number
        known = np.empty(0) if worth is None else worth[mine][~np.isnan(worth[mine])]
        summaries.append(
            SegmentSummary(
                id=segment.id,
                name=segment.name,
                customers=int(mine.sum()),
                share=float(mine.mean()),
                churn_rate=_mean(y[mine]),
                churn_probability=_mean(tested.p[mine]),
                health=_mean(health[mine]),
                value_next_12_months=_mean(known),
            )
        )
    return summaries


def _mean(figures: npt.NDArray[Any]) -> float | None:
    return float(figures.mean()) if len(figures) else None
