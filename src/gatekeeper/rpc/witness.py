"""What is noted of each call when it has ended? It is counted, logged in one line, and its span ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.descriptor import Descriptor, MethodDescriptor

from gatekeeper import trace
from gatekeeper.metrics import ADMITTED, OVERRIDDEN, WOULD_DENY, Metrics
from gatekeeper_client.v1.error_reason_pb2 import ErrorReason
from gatekeeper_client.v1.reservation_pb2 import DenialReason

from .call_log import OK, CallLog, Entry
from .spans import Spans
from .statuses import PREFIX, Status

if TYPE_CHECKING:
    from opentelemetry.trace import Span

Context = grpc.aio.ServicerContext[Any, Any]
DENIALS = {number: name.removeprefix("DENIAL_REASON_") for name, number in DenialReason.items()}
REASONS = {number: name.removeprefix(PREFIX) for name, number in ErrorReason.items()}
# A caller whose deadline passes says so a moment before we see it pass: the call took as long to get here.
UNDER_WAY_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnesses:
    """To whom calls are told; each may be missing."""

    metrics: Metrics | None = None
    call_log: CallLog | None = None
    spans: Spans | None = None


NOBODY = Witnesses()


class Observed:
    """A call that is under way. `caller` is the caller's name, empty until it is known."""

    __slots__ = ("_trace_id", "began_at", "caller", "context", "span")

    def __init__(self, context: Context) -> None:
        """Begin now."""
        self.context = context
        self._trace_id = ""
        self.began_at = time.perf_counter()
        self.caller = ""
        self.span: Span | None = None

    @property
    def trace_id(self) -> str:
        """The trace that the caller names, else one of the call's own."""
        if not self._trace_id:
            if self.span is not None:
                self._trace_id = f"{self.span.get_span_context().trace_id:032x}"
            else:
                parent = self.parent
                self._trace_id = trace.new_trace_id() if parent is None else parent.trace_id
        return self._trace_id

    @property
    def parent(self) -> trace.Parent | None:
        """The caller's span."""
        return trace.parent_of(self.context.invocation_metadata())

    @property
    def is_too_late(self) -> bool:
        """Whether the caller's deadline has passed, by its own clock, which began before ours."""
        left_s = self.context.time_remaining()
        return left_s is not None and left_s <= UNDER_WAY_S


class Witness:
    """Tells of the calls of one RPC. For each: `begin`, and then one of the others."""

    def __init__(self, method: MethodDescriptor, witnesses: Witnesses) -> None:
        """Tell these witnesses."""
        self.rpc = method.name
        self._service = method.containing_service.full_name
        self._lasts = method.server_streaming
        self._metrics, self._log, self._spans = witnesses.metrics, witnesses.call_log, witnesses.spans
        self._tells_all = self._spans is not None or (self._log is not None and not self._log.only_failed)
        self._whose = _reader("organization", method.input_type, method.output_type)
        self._which = _reader("reservation_id", method.input_type, method.output_type)
        self._is_admission = "outcome" in method.output_type.oneofs_by_name

    def begin(self, context: Context) -> Observed:
        """Note that a call begins, and let all that its task logs say which trace it belongs to."""
        observed = Observed(context)
        trace.CURRENT.set(observed)
        if self._spans is not None:
            observed.span = self._spans.begin(self._service, self.rpc, observed.parent)
        return observed

    def answered(self, observed: Observed, request: Any, response: Any) -> None:
        """Note that a call has its answer; None for a stream that has ended."""
        verdict = _verdict(response) if self._is_admission and self._tells_all else ""
        self._end(observed, request, response, grpc.StatusCode.OK, verdict, is_fine=True)

    def refused(self, observed: Observed, request: Any, row: Status) -> None:
        """Note that a call is aborted."""
        reason = REASONS[row.reason]
        if self._metrics is not None:
            self._metrics.refused(reason)
        self._end(observed, request, None, row.code, reason)

    def abandoned(self, observed: Observed, request: Any) -> None:
        """Note that a call was cancelled, or its deadline has passed."""
        code = grpc.StatusCode.DEADLINE_EXCEEDED if observed.is_too_late else grpc.StatusCode.CANCELLED
        # A stream has no other end than that its caller has seen enough.
        self._end(observed, request, None, code, "", is_fine=self._lasts and code is grpc.StatusCode.CANCELLED)

    def _end(
        self,
        observed: Observed,
        request: Any,
        response: Any,
        status: grpc.StatusCode,
        outcome: str,
        *,
        is_fine: bool = False,
    ) -> None:
        seconds = time.perf_counter() - observed.began_at
        code = status.name
        if self._metrics is not None:
            self._metrics.rpc_done(self.rpc, code, None if self._lasts else seconds)
        if code == OK and not self._tells_all:
            return
        organization = self._whose(request, response)
        if self._log is not None and not (is_fine and self._log.only_failed):
            reservation_id, trace_id = self._which(request, response), observed.trace_id
            self._log.add(
                Entry(
                    self.rpc, code, seconds, organization, reservation_id, outcome, observed.caller, trace_id, is_fine
                )
            )
        if self._spans is not None and observed.span is not None:
            self._spans.end(observed.span, status, organization, outcome)


def _reader(name: str, asked: Descriptor, answer: Descriptor) -> Callable[[Any, Any], str]:
    """Return what reads a field of a request, or of the reservation in its response where the request leaves it out.

    Requests that could not be read have no fields.
    """
    is_asked, is_answered = name in asked.fields_by_name, "reservation" in answer.fields_by_name

    def read(request: Any, response: Any) -> str:
        found: str = getattr(request, name, "") if is_asked else ""
        if not found and is_answered and response is not None:
            found = getattr(response.reservation, name)
        return found

    return read


def _verdict(response: Any) -> str:
    if response.HasField("denial"):
        return DENIALS[response.denial.reason]
    reservation = response.reservation
    if reservation.HasField("override"):
        return OVERRIDDEN
    return WOULD_DENY if reservation.would_deny else ADMITTED
