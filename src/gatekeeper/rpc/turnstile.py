"""Which calls are turned away before anything is read of them? Those of a caller that calls too often.

When a call comes, gRPC asks for its handler. A refusal at that point is a quarter cheaper than one by the handler,
which gets the message first: the less a loud caller costs, the less the others notice it.
"""

from __future__ import annotations

import time
from typing import Any

import grpc

from gatekeeper.domain import errors
from gatekeeper.metrics import Metrics

from .authentication import Authentication
from .boundary import Context, refusal_of
from .call_rates import CallRates

RATE_LIMITED = "RATE_LIMITED"


class Turnstile(grpc.GenericRpcHandler):
    """Handlers, for all but bearers of tokens that are above their rate. Whoever is let through is counted later."""

    def __init__(
        self,
        handlers: grpc.GenericRpcHandler,
        authentication: Authentication,
        rates: CallRates,
        metrics: Metrics | None = None,
    ) -> None:
        """Stand before `handlers`. Whoever is turned away is counted, but not logged: it would fill the log."""
        self._handlers = handlers
        self._authentication = authentication
        self._rates = rates
        self._metrics = metrics
        refusal = refusal_of(errors.RateLimited(rate=rates.rate))

        async def turn_away(_request: object, context: Context) -> None:
            await context.abort(*refusal)

        # Of a stream, gRPC reads nothing until it is asked to.
        self._away: grpc.RpcMethodHandler[Any, Any] = grpc.stream_unary_rpc_method_handler(turn_away)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return what handles a call."""
        caller = self._authentication.known_bearer(handler_call_details.invocation_metadata)
        if caller is not None and self._rates.is_used_up(caller.caller_id, time.monotonic()):
            if self._metrics is not None:
                self._metrics.refused(RATE_LIMITED)
            return self._away
        return self._handlers.service(handler_call_details)
