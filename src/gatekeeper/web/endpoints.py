"""Which pages are there? /metrics, /healthz and /readyz, for machines; GET and HEAD only."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .exposition import Sources, expose

# What is asked is about this moment.
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def build_app(sources: Sources, hosts: Sequence[str]) -> Starlette:
    """Return the application; `hosts` are the names that it goes by (`*`: any).

    A web page that is opened on the machine could otherwise read from it, by a name of its own for the address.
    """

    async def metrics(_request: Request) -> Response:
        return Response(await expose(sources), media_type=CONTENT_TYPE_PLAIN_0_0_4, headers=HEADERS)

    async def alive(_request: Request) -> Response:
        return JSONResponse({"alive": True}, headers=HEADERS)

    async def ready(_request: Request) -> Response:
        readiness = sources.readiness
        body = {"ready": readiness.serving, "parts": dict(readiness.parts)}
        return JSONResponse(body, status_code=200 if readiness.serving else 503, headers=HEADERS)

    routes = [Route("/metrics", metrics), Route("/healthz", alive), Route("/readyz", ready)]
    by_name = Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    return Starlette(routes=routes, middleware=[by_name])
