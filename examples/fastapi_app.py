"""A web application of one's own around a store: python examples/fastapi_app.py STORE

`revisor serve` has OpenAI's routes, keys, approval and limits; this is for those who build their
own. It needs `pip install 'revisor[serve]'`.

    curl localhost:8000/facts -d '{"subject": "ACME", "prompt": "The CEO of {} is",
        "object": "Jane Roe"}' -H 'content-type: application/json'
    curl 'localhost:8000/answer?prompt=The+CEO+of+ACME+is'
"""

import sys
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from revisor import Fact, RevisorError, Store


class NewFact(BaseModel):
    """The body of `POST /facts`."""

    subject: str
    prompt: str
    object: str
    source: str | None = None


def make_app(store: Store) -> FastAPI:
    """The application; the store stays the caller's to close."""
    app = FastAPI(title="Answers with facts")
    engine = store.engine()

    @app.get("/answer")
    def answer(prompt: str, max_tokens: int = 24) -> dict[str, Any]:
        found = engine.generate([prompt], max_tokens=max_tokens)[0]
        used = [{"id": one.id, "object": one.object} for one in found.facts_used]
        return {"answer": found.answer, "facts_used": used}

    @app.post("/facts", status_code=201)
    def add(new: NewFact) -> dict[str, Any]:
        fact = Fact(**new.model_dump())
        added = store.add([fact], actor="the web application")
        return {"id": fact.id, "generation": added.generation}

    @app.exception_handler(RevisorError)
    def told(_: Request, error: RevisorError) -> JSONResponse:
        content = {"message": error.message, "hint": error.hint}
        return JSONResponse(content, status_code=error.http_status)

    return app


def main(path: str) -> None:
    """Serve the application on port 8000."""
    import uvicorn

    with Store.open(path) as store:
        uvicorn.run(make_app(store))


if __name__ == "__main__":
    main(*sys.argv[1:])
