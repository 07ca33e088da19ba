"""What every route asks for: the service, and who calls."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from revisor.server.roles import Caller
from revisor.server.service import Service


def service_of(request: Request) -> Service:
    """The server's parts."""
    found: Service = request.app.state.service
    return found


ServiceOf = Annotated[Service, Depends(service_of)]


def caller_of(request: Request, service: ServiceOf) -> Caller:
    """Whose request it is.

    Raises:
        Unauthorized: nobody's.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return service.caller(token.strip() if scheme.lower() == "bearer" else None)


CallerOf = Annotated[Caller, Depends(caller_of)]
