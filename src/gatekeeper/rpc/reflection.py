"""What does a server tell of its own services? Files, messages, services, and each RPC by its name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from .streams import Context, Streams, send


def add_reflection(server: grpc.aio.Server, services: tuple[str, ...], streams: Streams) -> None:
    """Let a server tell of these services, and of reflection itself, in so many streams at a time."""
    servicer = Reflection((*services, reflection.SERVICE_NAME), streams)
    add: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server
    add(servicer, server)


class Symbols:
    """The process's descriptors, where the file of an RPC is found as well: the pool does not take RPCs for symbols."""

    def __init__(self) -> None:
        """Take what was imported."""
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        """Find everything else as the pool does."""
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:
        """Return the file that declares a symbol. Raises KeyError."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return self._pool.FindMethodByName(symbol).containing_service.file


class Reflection(reflection_pb2_grpc.ServerReflectionServicer):
    """grpc.reflection.v1alpha.ServerReflection, with a bound and an end."""

    def __init__(self, services: tuple[str, ...], streams: Streams) -> None:
        """Tell of services."""
        self._unbounded: Any = reflection.aio.ReflectionServicer(services, pool=cast("Any", Symbols()))
        self._streams = streams

    async def ServerReflectionInfo(
        self, requests: AsyncIterator[reflection_pb2.ServerReflectionRequest], context: Context
    ) -> None:
        """Answer one request after the other."""
        async with self._streams.one(context):
            async for answer in self._unbounded.ServerReflectionInfo(requests, context):
                await send(context, answer)
