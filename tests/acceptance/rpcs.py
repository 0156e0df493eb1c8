"""What is known of an RPC by its name alone?"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pool, message_factory

from tests.contract.requests import SERVICE_OF


def descriptor(rpc: str) -> Any:
    """Return what describes an RPC."""
    return descriptor_pool.Default().FindServiceByName(SERVICE_OF[rpc]).methods_by_name[rpc]  # type: ignore[no-untyped-call]


def response_of(rpc: str) -> Any:
    """Return the class of its responses."""
    return message_factory.GetMessageClass(descriptor(rpc).output_type)
