"""How does a program ask for money before it calls a language model? With this client.

    async with AsyncClient("127.0.0.1:50051") as client:
        async with client.reserve("acme", campaign="spring", agent="writer", amount="0.10") as hold:
            answer = await llm(prompt)  # BudgetDenied before it gets here, a release if it fails
            await hold.commit(amount=answer.cost, outcome="SUCCEEDED")

        match await client.reserve("acme", tokens=TokenEstimate(model="m", input_tokens=900, max_output_tokens=400)):
            case AsyncHold() as hold: ...
            case Denied(denial=denial): print(denial.message)

`Client` and `Hold` are the same without `async` and `await`. All messages are in `gatekeeper_client.v1`.
"""

from gatekeeper_client.aio import AsyncClient
from gatekeeper_client.aio_hold import AsyncHold
from gatekeeper_client.credentials import tls_credentials
from gatekeeper_client.errors import (
    BudgetDenied,
    Conflict,
    GatekeeperError,
    InternalError,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
    Unauthorized,
    Unavailable,
)
from gatekeeper_client.hold import Hold
from gatekeeper_client.ids import new_reservation_id
from gatekeeper_client.money import from_money, to_money
from gatekeeper_client.sync import Client
from gatekeeper_client.v1.budget_pb2 import Scope
from gatekeeper_client.v1.invoice_pb2 import BillingProfile, InvoiceParty
from gatekeeper_client.v1.reservation_pb2 import TokenEstimate, TokenUsage
from gatekeeper_client.verdicts import Denied

__all__ = [
    "AsyncClient",
    "AsyncHold",
    "BillingProfile",
    "BudgetDenied",
    "Client",
    "Conflict",
    "Denied",
    "GatekeeperError",
    "Hold",
    "InternalError",
    "InvalidRequest",
    "InvoiceParty",
    "NotFound",
    "Overloaded",
    "PermissionDenied",
    "Scope",
    "TokenEstimate",
    "TokenUsage",
    "Unauthenticated",
    "Unauthorized",
    "Unavailable",
    "from_money",
    "new_reservation_id",
    "tls_credentials",
    "to_money",
]
