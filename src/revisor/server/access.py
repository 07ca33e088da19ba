"""What every route asks for: the service, and who calls."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Depends, Request

from revisor.server.roles import ANYBODY, Caller
from revisor.server.service import Service

# Neither waits for the threads of other routes: health and answers go on when those are all busy.


async def service_of(request: Request) -> Service:
    """The server's parts."""
    found: Service = request.app.state.service
    return found


ServiceOf = Annotated[Service, Depends(service_of)]


async def caller_of(request: Request, service: ServiceOf) -> Caller:
    """Whose request it is.

    Raises:
        Unauthorized: nobody's.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = token.strip() if scheme.lower() == "bearer" else None
    caller = await asyncio.to_thread(service.caller, given)
    request.state.known = caller is not ANYBODY
    return caller


CallerOf = Annotated[Caller, Depends(caller_of)]
