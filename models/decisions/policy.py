"""The next best action: what is allowed, what it is worth, and with which probability it was drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from models.decisions.actions import NO_ACTION, Action, Budget, Cap
from models.decisions.eligibility import NO_LIMITS, Block, DecisionContext, Effect, Limits, blocks
from models.errors import PolicyError

__all__ = [
    "LACKED_CODES",
    "MISSING_VALUE",
    "NO_ACTION",
    "WHY_NOT_CODES",
    "Action",
    "Alternative",
    "Budget",
    "Cap",
    "Decision",
    "DecisionContext",
    "Effect",
    "Factors",
    "NextBestActionPolicy",
    "Ranking",
    "Worth",
]

MISSING_VALUE = "missing_value"

NO_LEARNED_EFFECTS, NO_VALUE, NO_CONSENT_RECORD, NO_ELIGIBILITY = (
    "learned_effects",
    "value_at_stake",
    "consent_record",
    "eligibility",
)
LACKED_CODES: Mapping[str, str] = {
    NO_LEARNED_EFFECTS: "An action's effect is not learned yet: its `prior_effect` stands in.",
    NO_VALUE: "What is at stake is not known: only `no_action` has a known gain.",
    NO_CONSENT_RECORD: "A consent was never recorded: actions that need it are blocked.",
    NO_ELIGIBILITY: "A condition reads what is not known of the customer: its action is blocked.",
}
WHY_NOT_CODES: Mapping[str, str] = {
    "gain_unknown": "Nobody knows what it would gain.",
    "lower_gain": "It ranks behind the best action.",
    "not_proven": "It would rank first, but no personal policy is proven better than one action for everybody.",
    "explored": "It ranks first, but exploration drew another.",
}
"""Why an action that is allowed was not drawn; one that is blocked has a code of `BLOCK_CODES`."""


class Ranking(StrEnum):
    """What actions are ranked on; all but GAIN are ablations, to tell what a part of the policy is worth."""

    GAIN = "gain"
    """Effect × value at stake × levers − cost."""
    NO_LEVERS = "no_levers"
    """Without the levers."""
    PROPENSITY = "propensity"
    """Churn probability × what is believed of everybody: as if effects did not differ between customers."""
    RANDOM = "random"
    """Nothing: any allowed action, `no_action` among them, with the same probability."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """An action that was not drawn: what it would have been worth, and why not."""

    action: str
    expected_gain: float | None
    blocked_by: str | None
    """The first filter that it does not pass; None where it was allowed."""
    code: str
    """Of `BLOCK_CODES` or `WHY_NOT_CODES`."""
    why_not: str
    blocks: tuple[Block, ...] = ()
    """Every filter that it does not pass."""
    ranked_on: float | None = None


@dataclass(frozen=True, slots=True)
class Factors:
    """What the drawn action's gain was made of: `uplift × value_at_stake × lever − cost`."""

    churn_probability: float
    uplift: float
    uplift_low: float
    """The lower confidence bound, from which `ranked_on` is made as `expected_gain` is from `uplift`."""
    effect: str
    """`learned`, `prior`, or `none` for `no_action`."""
    value_at_stake: float | None
    lever: float
    cost: float
    ranked_on: float | None
    ranking: str
    best: str
    """The action that ranked first; another one was drawn by exploration."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One action for one customer, with the exact probability with which it was drawn."""

    action: str
    channel: str | None
    pscore: float
    uplift: float
    """How much of the churn probability the action is expected to remove."""
    uplift_interval: tuple[float, float] | None
    """None until effects are learned from decisions."""
    value_at_stake: float | None
    cost: float
    expected_gain: float | None
    alternatives: tuple[Alternative, ...]
    degraded: tuple[str, ...]
    policy_version: str
    factors: Factors
    lacked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Worth:
    """What an allowed action is worth for one customer."""

    action: Action
    expected_gain: float
    ranked_on: float


@dataclass(frozen=True, slots=True)
class _Option:
    """An action as it stands for one customer."""

    name: str
    channel: str | None
    cost: float
    effect: Effect
    lever: float
    expected_gain: float | None
    ranked_on: float | None
    blocks: tuple[Block, ...]

    @property
    def allowed(self) -> bool:
        return not self.blocks


_NOTHING = _Option(NO_ACTION, None, 0.0, Effect(0.0, 0.0), 1.0, 0.0, 0.0, ())


class NextBestActionPolicy:
    """Ranks allowed actions by their gain at the lower bound of their effect, and explores a little.

    Where effects are not learned, `uplift = probability × prior_effect`, which is its own lower bound.

    Args:
        actions: in the order that breaks ties.
        exploration: the share of decisions drawn uniformly over the allowed actions and `no_action`.
        version: what tells this list of actions from another; `policy_version` is `prior-<version>`.
        floor: the least pscore of an allowed action while anything is explored at all.
        limits: what holds over all actions.
        ranking: what actions are ranked on.
        policy_version: the whole of it, where effects are learned.
        constant: the action that is best for everybody, `no_action` among them, where no personal policy is proven better;
            where it is blocked, or its gain is below 0, that is `no_action`. Others are only explored.

    Raises:
        PolicyError: two actions of one name, or a share outside 0 to 1.
    """

    def __init__(
        self,
        actions: Sequence[Action],
        exploration: float = 0.10,
        version: str = "1",
        *,
        floor: float = 0.0,
        limits: Limits = NO_LIMITS,
        ranking: Ranking = Ranking.GAIN,
        policy_version: str | None = None,
        constant: str | None = None,
    ) -> None:
        names = [action.name for action in actions]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise PolicyError(f"The action '{twice}' is declared twice: give each action a name of its own.")
        for what, share in (("exploration", exploration), ("floor", floor)):
            if not 0.0 <= share <= 1.0:
                raise PolicyError(f"The {what} is {share}, but a share lies in 0 to 1.")
        self.actions = tuple(actions)
        self.exploration = exploration
        self.floor = floor
        self.limits = limits
        self.ranking = ranking
        self.version = version
        self.constant = constant
        self.policy_version = policy_version or f"prior-{version}"

    def ranked_by(self, ranking: Ranking) -> NextBestActionPolicy:
        """The same policy, but for what it ranks on."""
        if ranking is self.ranking:
            return self
        return NextBestActionPolicy(
            self.actions,
            self.exploration,
            self.version,
            floor=self.floor,
            limits=self.limits,
            ranking=ranking,
            policy_version=f"{self.policy_version}+{ranking.value}",
            # An ablation is of the personal policy.
            constant=None,
        )

    def action_dist(self, context: DecisionContext) -> dict[str, float]:
        """The probability with which `decide` draws each action, `no_action` among them; blocked ones have 0."""
        options = self._options(context)
        return dict(zip((option.name for option in options), self._pscores(options), strict=True))

    def decide(self, context: DecisionContext, rng: np.random.Generator) -> Decision:
        """Draw an action from `action_dist`: mostly the best one, and each allowed one with its share of exploration."""
        return self.draw(context, rng)[0]

    def draw(self, context: DecisionContext, rng: np.random.Generator) -> tuple[Decision, dict[str, float]]:
        """A decision, and the `action_dist` that it was drawn from."""
        options = self._options(context)
        pscores = self._pscores(options)
        place = _drawn(pscores, rng.random())
        decision = self._decision(options[place], options, pscores[place], context)
        return decision, dict(zip((option.name for option in options), pscores, strict=True))

    def best(self, context: DecisionContext) -> Decision:
        """The best allowed action without exploration, so with pscore 1: a suggestion."""
        options = self._options(context)
        return self._decision(self._best(options), options, 1.0, context)

    def worth(self, context: DecisionContext) -> list[Worth]:
        """The allowed actions that pay at the lower bound of their effect, in the order of the actions.

        Where one action is served to everybody, no other is among them.
        """
        return [
            Worth(action, option.expected_gain, option.ranked_on)
            for action, option in zip(self.actions, self._options(context)[1:], strict=True)
            if option.allowed
            and option.expected_gain is not None
            and option.ranked_on is not None
            and option.ranked_on > 0.0
            and self.constant in (None, action.name)
        ]

    def _best(self, options: Sequence[_Option]) -> _Option:
        """The allowed option that ranks first; the first of equals, so `no_action` at 0."""
        if self.constant is not None:
            # No action that is not proven better than this one may take its place for anybody.
            options = [option for option in options if option.name in (NO_ACTION, self.constant)]
            gains = [(option.expected_gain, option) for option in options if option.allowed]
            return max(gains, key=lambda gain: -math.inf if gain[0] is None else gain[0])[1]
        known = [option for option in options if option.allowed and option.ranked_on is not None]
        return max(known, key=lambda option: -math.inf if option.ranked_on is None else option.ranked_on)

    def _options(self, context: DecisionContext) -> list[_Option]:
        return [_NOTHING, *(self._option(action, context) for action in self.actions)]

    def _option(self, action: Action, context: DecisionContext) -> _Option:
        value = _value(context)
        lever = context.levers.get(action.name, 1.0)
        believed = context.churn_probability * action.prior_effect
        prior = Effect(believed, believed, learned=False)
        effect = context.effects.get(action.name, prior)
        gain = None if value is None else effect.estimate * value * lever - action.cost
        ranked_on: float | None = None
        if value is not None:
            if self.ranking is Ranking.PROPENSITY:
                ranked_on = prior.low * value * lever - action.cost
            elif self.ranking is Ranking.NO_LEVERS:
                ranked_on = effect.low * value - action.cost
            else:
                ranked_on = effect.low * value * lever - action.cost
        found = tuple(blocks(action, context, self.limits))
        return _Option(action.name, action.channel, action.cost, effect, lever, gain, ranked_on, found)

    def _pscores(self, options: Sequence[_Option]) -> list[float]:
        """What each option is drawn with: the rest goes to the best one, so that they sum to 1."""
        allowed = sum(option.allowed for option in options)
        if self.ranking is Ranking.RANDOM:
            share = 1.0 / allowed
        else:
            share = 0.0
            if self.exploration > 0.0:
                share = min(max(self.exploration / allowed, self.floor), 1.0 / allowed)
        best = self._best(options)
        rest = max(0.0, 1.0 - (allowed - 1) * share)
        return [0.0 if not option.allowed else rest if option is best else share for option in options]

    def _decision(
        self, chosen: _Option, options: Sequence[_Option], pscore: float, context: DecisionContext
    ) -> Decision:
        value = _value(context)
        best = self._best(options)
        return Decision(
            action=chosen.name,
            channel=chosen.channel,
            pscore=pscore,
            uplift=chosen.effect.estimate,
            uplift_interval=chosen.effect.interval,
            value_at_stake=value,
            cost=chosen.cost,
            expected_gain=chosen.expected_gain,
            alternatives=tuple(_alternative(option, best) for option in options if option is not chosen),
            degraded=() if value is not None else (MISSING_VALUE,),
            policy_version=self.policy_version,
            factors=Factors(
                churn_probability=context.churn_probability,
                uplift=chosen.effect.estimate,
                uplift_low=chosen.effect.low,
                effect="none" if chosen is _NOTHING else "learned" if chosen.effect.learned else "prior",
                value_at_stake=value,
                lever=chosen.lever,
                cost=chosen.cost,
                ranked_on=chosen.ranked_on,
                ranking=self.ranking.value,
                best=best.name,
            ),
            lacked=tuple(_lacked(options, context)),
        )


def _drawn(pscores: Sequence[float], u: float) -> int:
    """The place at which `u`, uniform in [0, 1), falls."""
    end = 0.0
    for place, pscore in enumerate(pscores):
        end += pscore
        if u < end:
            return place
    # Only what rounding left: the sum may fall short of 1 by an ulp.
    return max(range(len(pscores)), key=pscores.__getitem__)


def _value(context: DecisionContext) -> float | None:
    """The value at stake, None where it is no finite number."""
    value = context.value_at_stake
    return None if value is None or not math.isfinite(value) else float(value)


def _alternative(option: _Option, best: _Option) -> Alternative:
    if option.blocks:
        first = option.blocks[0]
        why_not = f"{first.text}; lifted by {first.lifted_by}"
        return Alternative(option.name, None, first.text, first.code, why_not, option.blocks)
    code, why_not = "lower_gain", ""
    if option.ranked_on is None or best.ranked_on is None:
        code, why_not = "gain_unknown", "what is at stake is not known, and so is what it would gain"
    elif option is best:
        code, why_not = "explored", "it ranks first, but exploration drew another"
    elif option.ranked_on > best.ranked_on:
        code, why_not = "not_proven", f"no policy is proven better than {best.name} for everybody"
    else:
        why_not = f"ranks behind {best.name}: {option.ranked_on:.4g} against {best.ranked_on:.4g}"
    return Alternative(option.name, option.expected_gain, None, code, why_not, (), option.ranked_on)


def _lacked(options: Sequence[_Option], context: DecisionContext) -> list[str]:
    codes = {block.code for option in options for block in option.blocks}
    lacked = []
    if any(not option.effect.learned for option in options):
        lacked.append(NO_LEARNED_EFFECTS)
    if _value(context) is None:
        lacked.append(NO_VALUE)
    if "no_consent" in codes:
        lacked.append(NO_CONSENT_RECORD)
    if "eligibility_unknown" in codes:
        lacked.append(NO_ELIGIBILITY)
    return lacked
