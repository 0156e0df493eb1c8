"""What does somebody send who wants a server to stumble, and why can none of it be written?

Each message comes from one of four, and each of them has its own reason why even a valid one must change nothing:

- *entitled*: the role may make the call. What would be a change ends with a field that makes it none: the last value
  of a field counts, so it holds whatever was sent before it. These messages get through all layers.
- *stranger*: a caller of another organization, about one that has all that valid messages name. Were it let in, the
  message would be a change.
- *barred*: a caller of the organization itself, in a role that may not make the call.
- *nobody*: no token, or what is none.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from random import Random

from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from grpc import Compression, StatusCode

from gatekeeper.domain.access import RIGHTS, Role
from gatekeeper_client.v1 import admin_service_pb2 as admin_pb
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1.invoice_pb2 import BillingProfile
from tests.contract.mutators import MUTATORS
from tests.contract.requests import VALID, full_name, valid
from tests.contract.secured import Secured

OURS, THEIRS = "o", f"stranger {uuid.uuid4().hex}"
MESSAGE_BYTES_MAX = 65_536
METADATA_BYTES_MAX = 16_384
SHOWN_BYTES = 300
NOT_THERE = "not there"
NEVER_ISSUED = "2000-000001"
NOISES = ("x-noise", "x-noise-bin", "grpc-tags-bin", "cookie", "x-forwarded-for")
PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))

ENTITLED = frozenset(
    {
        StatusCode.OK,
        StatusCode.INVALID_ARGUMENT,
        StatusCode.NOT_FOUND,
        StatusCode.FAILED_PRECONDITION,
        StatusCode.ALREADY_EXISTS,
        StatusCode.ABORTED,
        # An admin who asks for an operator's token.
        StatusCode.PERMISSION_DENIED,
    }
)
STRANGER = frozenset({StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND})
BARRED = frozenset({StatusCode.INVALID_ARGUMENT, StatusCode.PERMISSION_DENIED})
NOBODY = frozenset({StatusCode.UNAUTHENTICATED})
TOO_LARGE = frozenset({StatusCode.RESOURCE_EXHAUSTED})

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A call, and the statuses that it may end with."""

    path: str
    request: bytes
    metadata: Metadata
    compression: Compression
    answers: frozenset[StatusCode]

    def __str__(self) -> str:
        """Tell enough of it to know where to look."""
        names = ", ".join(name for name, _ in self.metadata)
        expected = ", ".join(sorted(status.name for status in self.answers))
        return f"{self.path} {self.request[:SHOWN_BYTES]!r} ({len(self.request)} bytes; {names}), not {expected}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Tokens by role: of the organization that messages are about, of another one, and such as are over."""

    ours: Mapping[Role, str]
    theirs: Mapping[Role, str]
    over: Sequence[str]


def prepare(secured: Secured) -> Tokens:
    """Open both organizations, with all that valid messages name; make the tokens."""
    operator = secured.operator
    for organization in (OURS, THEIRS):
        cap = valid("SetCap")
        cap.organization = organization
        secured.call("SetCap", cap, operator)
    held = valid("Reserve")
    held.ttl.seconds = 86_400
    assert secured.call("Reserve", held, operator).HasField("reservation")
    secured.call(
        "CreateToken", admin_pb.CreateTokenRequest(organization=OURS, name="n", role=admin_pb.ROLE_VIEWER), operator
    )
    return Tokens(
        ours={role: secured.token(role, "" if role is Role.OPERATOR else OURS) for role in Role},
        theirs={role: secured.token(role, THEIRS) for role in Role if role is not Role.OPERATOR},
        over=[secured.ended_token(Role.ADMIN, OURS, column) for column in ("expires_at", "revoked_at")],
    )


def attempts(tokens: Tokens, rng: Random) -> Iterator[Attempt]:
    """Yield hostile calls without an end: those to each RPC in turn, by everybody."""
    while True:
        for name in VALID:
            yield _attempt(tokens, rng, name)


def _attempt(tokens: Tokens, rng: Random, name: str) -> Attempt:
    rpc = name.partition(" ")[0]
    request = rng.choice(MUTATORS)(rng, name)
    if rpc == "CreateToken":
        # There is a token `n`, for RevokeToken to be about.
        request = _with(name, request, admin_pb.CreateTokenRequest(name=rng.choice(("n", f"{rng.getrandbits(64):x}"))))
    draw = rng.random()
    if draw < 0.5:
        token, answers = rng.choice([tokens.ours[role] for role in sorted(RIGHTS[rpc])]), ENTITLED
        request = _ended_harmlessly(rpc, name, request)
    elif draw < 0.75:
        token, answers = rng.choice([tokens.theirs[role] for role in sorted(RIGHTS[rpc] - {Role.OPERATOR})]), STRANGER
        request = _with(name, request, type(VALID[name])(organization=OURS))
    elif draw < 0.9 and (barred := sorted(set(Role) - RIGHTS[rpc])):
        token, answers = rng.choice([tokens.ours[role] for role in barred]), BARRED
    else:
        return _of_nobody(tokens, rng, name, request)
    return _made(rng, name, request, (*_noise(rng), ("authorization", f"Bearer {token}")), answers)


def _of_nobody(tokens: Tokens, rng: Random, name: str, request: bytes) -> Attempt:
    scheme = "authorization"
    right = f"Bearer {tokens.ours[Role.OPERATOR]}"
    forms: list[Metadata] = [
        (),
        ((scheme, f"Bearer {rng.choice(tokens.over)}"),),
        ((scheme, right), (scheme, right)),
        ((scheme, right[: rng.randrange(7, len(right))]),),
        ((scheme, right + "A"),),
        ((scheme, right.removeprefix("Bearer ")),),
        ((scheme, "Basic " + base64.b64encode(rng.randbytes(30)).decode()),),
        ((f"x-{scheme}", right), (f"{scheme}-bin", right.encode())),
        ((scheme, _printable(rng, rng.randint(0, 300))),),
        ((scheme, ""),),
    ]
    if rng.random() < 0.05:
        # It has the form of a token: whose it is must be looked up, which waits for a read.
        forms = [((scheme, "Bearer gk_" + base64.urlsafe_b64encode(rng.randbytes(32)).decode().rstrip("=")),)]
    return _made(rng, name, request, (*_noise(rng), *rng.choice(forms)), NOBODY)


def _made(rng: Random, name: str, request: bytes, metadata: Metadata, answers: frozenset[StatusCode]) -> Attempt:
    if len(request) > MESSAGE_BYTES_MAX or sum(map(len, chain(*metadata))) > METADATA_BYTES_MAX:
        answers = TOO_LARGE
    compression = (
        rng.choice((Compression.Gzip, Compression.Deflate)) if rng.random() < 0.1 else Compression.NoCompression
    )
    return Attempt(path=full_name(name), request=request, metadata=metadata, compression=compression, answers=answers)


def _noise(rng: Random) -> Metadata:
    """Return metadata that nobody asked for, now and then."""
    if rng.random() < 0.8:
        return ()
    name = rng.choice(NOISES)
    size = rng.choice((0, 10, 100, 4000, 20_000))
    return ((name, rng.randbytes(size) if name.endswith("-bin") else _printable(rng, size)),)


def _printable(rng: Random, length: int) -> str:
    return "".join(rng.choices(PRINTABLE, k=length)).strip()


def _with(name: str, request: bytes, ending: Message) -> bytes:
    """Let a request end with some fields, if it is one that an end can be put to."""
    try:
        type(VALID[name]).FromString(request)
    except DecodeError:
        return request
    return request + ending.SerializeToString()


# What makes each change none, whatever the request says before it.
HARMLESS: dict[str, Callable[[], Message]] = {
    "Reserve": lambda: pb.ReserveRequest(validate_only=True),
    "Commit": lambda: pb.CommitRequest(reservation_id=NOT_THERE),
    "Release": lambda: pb.ReleaseRequest(reservation_id=NOT_THERE),
    "Extend": lambda: pb.ExtendRequest(reservation_id=NOT_THERE),
    "SetCap": lambda: pb.SetCapRequest(etag=NOT_THERE),
    "SetOverride": lambda: pb.SetOverrideRequest(override_id=NOT_THERE),
    # The one that is held already.
    "RequestOverride": lambda: pb.RequestOverrideRequest(reservation=valid("Reserve").reservation_id),
    "CreateToken": lambda: admin_pb.CreateTokenRequest(expire_time=Timestamp(seconds=1)),
    "RevokeToken": lambda: admin_pb.RevokeTokenRequest(token=NOT_THERE),
    "TestAlerts": lambda: admin_pb.TestAlertsRequest(organization=NOT_THERE),
    "RetryAlerts": lambda: admin_pb.RetryAlertsRequest(organization=NOT_THERE),
    "ExportInvoice": lambda: pb.ExportInvoiceRequest(number=NEVER_ISSUED),
    "CreditInvoice": lambda: admin_pb.CreditInvoiceRequest(number=NEVER_ISSUED),
    "SetBillingProfile": lambda: admin_pb.SetBillingProfileRequest(profile=BillingProfile(etag=NOT_THERE)),
}
FOREIGN = Money(currency_code="XXX")


def _ended_harmlessly(rpc: str, name: str, request: bytes) -> bytes:
    if rpc == "SetPrice":
        return _in_foreign_money(name, request)
    return _with(name, request, HARMLESS[rpc]()) if rpc in HARMLESS else request


def _in_foreign_money(name: str, request: bytes) -> bytes:
    """Let a price be in a currency that is not the organization's; which field it stands in depends on the price."""
    try:
        price = admin_pb.SetPriceRequest.FromString(request)
    except DecodeError:
        return request
    if price.WhichOneof("price") == "agent_type_price":
        ending = admin_pb.SetPriceRequest(agent_type_price=admin_pb.AgentTypePrice(per_1000_tokens=FOREIGN))
    else:
        ending = admin_pb.SetPriceRequest(model_price=admin_pb.ModelPrice(input=FOREIGN))
    return _with(name, request, ending)
