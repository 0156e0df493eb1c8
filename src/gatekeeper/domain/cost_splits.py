"""Who bears a cost that several share? Rules say which executions are shared, by a label, and by which shares.

Of the rules that an execution falls under, the first counts; what falls under none is its campaign's or department's
own. Shares are whole nanos and add up to what is shared: what is left after rounding down goes, a nano each, to those
whose shares lost the most by it, and of equals to those that come first.

A worked example. 10.00 are split by weights of 1, 1 and 1::

    rounded down   3.333333333  3.333333333  3.333333333      0.000000001 is left
    split          3.333333334  3.333333333  3.333333333
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from .errors import InvalidField
from .money import NANOS_PER_UNIT, ZERO, from_nanos, to_nanos


class SplitModel(StrEnum):
    """How shares are found: all the same, by weights, or by what each costs of its own."""

    EVEN = "EVEN"
    WEIGHTED = "WEIGHTED"
    PROPORTIONAL = "PROPORTIONAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Who shares; `weight` is for WEIGHTED."""

    id: str
    weight: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRule:
    """Executions with a label, of one value or (empty) any, and who shares them by which model."""

    label: str
    value: str = ""
    model: SplitModel
    shares: Sequence[Share]

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether an execution falls under it."""
        return self.label in labels and self.value in {"", labels[self.label]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """What a campaign or department costs: its `own`, and its share of what is `shared`. Empty: none is named."""

    id: str
    own: Decimal = ZERO
    shared: Decimal = ZERO

    @property
    def cost(self) -> Decimal:
        """Both."""
        return self.own + self.shared


def demand_sound(rules: Sequence[SplitRule]) -> None:
    """Refuse rules that cannot be followed. Raises `InvalidField`."""
    for index, rule in enumerate(rules):
        field = f"rules[{index}].shares"
        twice = [share for share, count in Counter(share.id for share in rule.shares).items() if count > 1]
        if twice:
            raise InvalidField(field=field, problem=f"name {twice[0]!r} twice; give it one share")
        if not rule.shares:
            raise InvalidField(field=field, problem="are empty; name at least one who shares")
        if rule.model is SplitModel.WEIGHTED and not any(share.weight for share in rule.shares):
            raise InvalidField(field=field, problem="have no weight; give at least one of them a weight above 0")


def attribute(
    rules: Sequence[SplitRule], own: Mapping[str, Decimal], shared: Mapping[int, Decimal]
) -> Sequence[Attributed]:
    """Return what each one costs, the dearest first. All of it adds up to `own` and `shared`.

    `own` is what no rule shares out, by who it is for; `shared` what falls under each rule, by its index. Raises
    `InvalidField` for rules that cannot be followed.
    """
    demand_sound(rules)
    borne: dict[str, Decimal] = {}
    for index, amount in shared.items():
        rule = rules[index]
        for share, part in zip(rule.shares, split(amount, _weights(rule, own)), strict=True):
            borne[share.id] = borne.get(share.id, ZERO) + part
    found = [
        Attributed(id=each, own=own.get(each, ZERO), shared=borne.get(each, ZERO)) for each in own.keys() | borne.keys()
    ]
    return sorted(found, key=lambda entry: (-entry.cost, entry.id))


def _weights(rule: SplitRule, own: Mapping[str, Decimal]) -> Sequence[int]:
    if rule.model is SplitModel.WEIGHTED:
        return [share.weight for share in rule.shares]
    if rule.model is SplitModel.PROPORTIONAL:
        # Whoever got more back than it spent bears nothing.
        weights = [max(0, _nanos(own.get(share.id, ZERO))) for share in rule.shares]
        if any(weights):
            return weights
    return [1] * len(rule.shares)


def split(amount: Decimal, weights: Sequence[int]) -> Sequence[Decimal]:
    """Split an amount, also one below zero, by weights that are not all zero; the parts add up to it to the nano."""
    nanos, total = abs(_nanos(amount)), sum(weights)
    parts = [nanos * weight // total for weight in weights]
    lost = sorted(range(len(weights)), key=lambda index: (-(nanos * weights[index] % total), index))
    for index in lost[: nanos - sum(parts)]:
        parts[index] += 1
    sign = -1 if amount < ZERO else 1
    return [from_nanos(0, sign * part) for part in parts]


def _nanos(amount: Decimal) -> int:
    units, nanos = to_nanos(amount)
    return units * NANOS_PER_UNIT + nanos
