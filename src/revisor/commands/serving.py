"""The facts in production: serve, mcp, and the keys of a server."""

from __future__ import annotations

import importlib.util
import ipaddress
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revisor.commands.common import (
    DEFAULT_STORE,
    ActorOption,
    JsonOption,
    NamespaceOption,
    StoreOption,
    note,
    open_store,
    os_user,
    output,
    print_json,
    say,
    table,
)
from revisor.commands.options import with_options
from revisor.errors import UsageError
from revisor.server.settings import ServeSettings

if TYPE_CHECKING:
    from revisor.server.batching import Scheduler
    from revisor.server.service import Service
    from revisor.store import Store

NEEDED = ("fastapi", "uvicorn", "prometheus_client")

keys = typer.Typer(
    no_args_is_help=True, help="API keys of a server: who may ask, propose, approve, administer."
)


@dataclass(frozen=True, kw_only=True)
class Wanted(ServeSettings):
    """How `revisor serve` is to serve."""

    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="Proxy whose forwarded headers say who calls; may be given several times.",
            show_default="none",
        ),
    ] = None
    trace: Annotated[
        bool, typer.Option("--trace", help="OpenTelemetry traces; set up by the OTEL_* variables.")
    ] = False
    engine: Annotated[
        str,
        typer.Option(
            metavar="ENGINE",
            help="What runs the model: transformers, or llama for a GGUF file in llama.cpp.",
        ),
    ] = "transformers"
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.gguf",
            help="With --engine llama: the file, or the packaged model, that answers, whatever the "
            "store was made for.",
            show_default="the store's",
        ),
    ] = None
    context: Annotated[
        int | None,
        typer.Option(
            min=16,
            metavar="N",
            help="With --engine llama: tokens of prompt and answer together.",
            show_default="the model's, at most 8192",
        ),
    ] = None
    store: StoreOption = DEFAULT_STORE


@with_options
def serve(wanted: Wanted) -> None:
    """Serve the model with its facts: OpenAI's API, the ledger over HTTP, figures, a console.

    On this machine alone it is open; anywhere else every request needs an API key.
    Facts that are added, changed or removed meanwhile are live within a second.
    """
    _need_extra("serve", NEEDED)
    from revisor.engines.threads import questions_on_one_thread
    from revisor.server.service import Service

    _need_addresses(wanted.trusted_proxy or ())
    make_scheduler = _scheduler_on(wanted.engine, wanted.model, wanted.context)
    _log_to_stderr()
    questions_on_one_thread()
    # As a whole path, which no text of a client has by chance: what is told to it is without.
    with open_store(wanted.store.absolute()) as opened:
        _run(Service(opened, wanted, make_scheduler=make_scheduler), wanted)


def _need_addresses(proxies: Sequence[str]) -> None:
    """Refuse what no client's address would ever be, so that a proxy is not taken for a client."""
    for one in proxies:
        try:
            ipaddress.ip_network(one, strict=False)
        except ValueError as error:
            raise UsageError(
                f"--trusted-proxy '{one}' is no address.",
                "Give that of the proxy, such as 10.0.0.1, or its network, such as 10.0.0.0/8.",
            ) from error


def _log_to_stderr() -> None:
    from revisor.server.logs import Sparing

    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(Sparing())


def _run(service: Service, wanted: Wanted) -> None:
    """Answer until the process is told to stop."""
    from revisor.server.app import make_app
    from revisor.server.connections import Server, listening

    _need_place(wanted.host, wanted.port)
    app: Any = make_app(service)
    if wanted.trace:
        from revisor.server.tracing import traced

        app = traced(app)
    host, patience_s = wanted.host, service.settings.patience_s
    place = f"http://{f'[{host}]' if ':' in host else host}:{wanted.port}"
    access = "open to this machine" if service.is_open else "with API keys"
    note(f"{service.name} on {place}/ ({access}); OpenAI's API under {place}/v1", style=None)
    config = listening(
        app,
        host=host,
        port=wanted.port,
        trusted_proxies=wanted.trusted_proxy or (),
        patience_s=patience_s,
    )
    Server(config, patience_s=patience_s, break_off=service.scheduler.break_off).run()


def _need_place(host: str, port: int) -> None:
    """Refuse an address that cannot be listened on before the model is opened."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        raise UsageError(
            f"The server cannot listen on {host}, port {port}: {error.strerror}.",
            "Choose another --port or --host, or end the program that listens there.",
        ) from error


def _scheduler_on(
    engine: str, model: Path | None, context: int | None
) -> Callable[[Store, ServeSettings], Scheduler]:
    """What makes the scheduler of an engine."""
    if engine == "llama":
        _need_extra("llama", ("llama_cpp",))
        from revisor.server.llama import llama_scheduler

        return partial(llama_scheduler, model=model, context=context)
    if engine != "transformers":
        raise UsageError(f"Unknown engine '{engine}'.", "Choose one of: transformers, llama.")
    if model is not None or context is not None:
        raise UsageError(
            "--model and --context are of the engine llama.",
            "Add --engine llama, or leave them out: the store says which model it is made for.",
        )
    from revisor.server.service import scheduler_of

    return scheduler_of


def mcp(store: StoreOption = DEFAULT_STORE) -> None:
    """Serve one agent over standard input and output, by the Model Context Protocol.

    Its tools are ask, why, search and propose_fact. What it proposes waits for somebody's
    approval. With an API key in the variable REVISOR_KEY it sees that key's namespaces only.
    """
    _need_extra("mcp", ("mcp",))
    from revisor.server.agent import Agent
    from revisor.server.mcp import make_server

    with (
        open_store(store) as opened,
        Agent(opened, user=os_user(), token=os.environ.get("REVISOR_KEY")) as agent,
    ):
        make_server(agent).run("stdio")


def _need_extra(extra: str, modules: tuple[str, ...]) -> None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"This needs {', '.join(missing)}.", f"Install it: pip install 'revisor[{extra}]'"
        )


@keys.command("add")
def add_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who uses it.")],
    role: Annotated[
        str,
        typer.Option(
            metavar="ROLE",
            help="read, propose, approve or admin; each may do what those before it may.",
        ),
    ] = "read",
    namespace: NamespaceOption = None,
    store: StoreOption = DEFAULT_STORE,
    actor: ActorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make a key. It is shown once; the store keeps a hash of it."""
    from revisor.server.roles import KeyBook, role_of
    from revisor.server.tables import Database

    with open_store(store) as opened, Database.of(opened) as database:
        token = KeyBook(database).make(name, role_of(role), namespace or None, actor=actor)
    if as_json:
        print_json({"name": name, "role": role, "namespaces": namespace or None, "token": token})
        return
    say(token)
    note("Keep it: it is not shown again. Send it as: Authorization: Bearer KEY")


@keys.command("ls")
def list_keys(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """List the keys, without their secrets."""
    from revisor.server.roles import KeyBook
    from revisor.server.tables import Database

    with open_store(store) as opened, Database.of(opened) as database:
        found = KeyBook(database).all()
    if as_json:
        print_json({"keys": found})
        return
    if not found:
        note("No keys: the store is served on this machine only. Make one: revisor keys add NAME")
        return
    listing = table("name", "role", "namespaces", "made", "revoked")
    for key in found:
        spaces = "all" if key["namespaces"] is None else ", ".join(key["namespaces"])
        listing.add_row(key["name"], key["role"], spaces, key["made_at"], key["revoked_at"] or "")
    output().print(listing)


@keys.command("revoke")
def revoke_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the key; `revisor keys ls`.")],
    store: StoreOption = DEFAULT_STORE,
    actor: ActorOption = "",
    as_json: JsonOption = False,
) -> None:
    """End a key; a running server refuses it from the next request on."""
    from revisor.server.roles import KeyBook
    from revisor.server.tables import Database

    with open_store(store) as opened, Database.of(opened) as database:
        KeyBook(database).revoke(name, actor=actor)
    if as_json:
        print_json({"revoked": name})
        return
    say(f"{name} revoked")
