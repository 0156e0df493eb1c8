"""Does a request keep the limits that this installation has set below those of the contract?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gatekeeper.domain import errors

TEXT_LENGTH_MAX = 128
LABELS_MAX = 32
# Of holds; how long an override lasts is for admins to say.
TTL_MAX_S = 86_400
HOLDING = frozenset({"ReserveRequest", "ExtendRequest"})
# Ids and names; reasons, page tokens and the like are other texts.
SHORT_TEXTS = frozenset(
    {
        *("reservation_id", "reservation", "override_id", "organization", "department", "campaign", "agent"),
        *("agent_type", "run", "task", "model", "name"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """What bounds requests; see the settings of the same names. The defaults are the contract's, which hold anyway."""

    text_length_max: int = TEXT_LENGTH_MAX
    labels_max: int = LABELS_MAX
    ttl_max_s: int = TTL_MAX_S

    def checker(self, request: Descriptor) -> Callable[[Any], None] | None:
        """Return what checks requests of this type; None where nothing is to check.

        It raises `InvalidField` for the first field that is too long.
        """
        names = [field.name for field in request.fields if _is_short_text(field)]
        checks: list[Callable[[Any], None]] = []
        if self.text_length_max < TEXT_LENGTH_MAX and names:
            checks.append(partial(self._check_texts, names))
        if self.labels_max < LABELS_MAX and "labels" in request.fields_by_name:
            checks.append(self._check_labels)
        if self.ttl_max_s < TTL_MAX_S and request.name in HOLDING:
            checks.append(self._check_ttl)
        return partial(_check_all, checks) if checks else None

    def _check_texts(self, names: Sequence[str], message: Any) -> None:
        for name in names:
            if len(getattr(message, name)) > self.text_length_max:
                problem = f"must be at most {self.text_length_max} characters here"
                raise errors.InvalidField(field=name, problem=problem)

    def _check_labels(self, message: Any) -> None:
        if len(message.labels) > self.labels_max:
            raise errors.InvalidField(field="labels", problem=f"must be at most {self.labels_max} here")

    def _check_ttl(self, message: Any) -> None:
        if message.ttl.seconds + bool(message.ttl.nanos) > self.ttl_max_s:
            raise errors.InvalidField(field="ttl", problem=f"must be at most {self.ttl_max_s} s here")


def _check_all(checks: Sequence[Callable[[Any], None]], message: Any) -> None:
    for check in checks:
        check(message)


def _is_short_text(field: FieldDescriptor) -> bool:
    return field.type == FieldDescriptor.TYPE_STRING and field.name in SHORT_TEXTS
