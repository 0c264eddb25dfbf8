"""`python -m deploy.local install|start|stop|status [kafka|postgresql|redis]…`: the servers below ./var/services."""

import sys
from typing import Annotated

import typer

from deploy.local import packages
from deploy.local.home import HOME, SERVERS, running, write_addresses
from deploy.local.server import LocalServer, ServerError

cli = typer.Typer(
    help="Kafka, PostgreSQL and Redis as processes of this machine, with their state in var/services.",
    pretty_exceptions_enable=False,
)
Names = Annotated[list[str] | None, typer.Argument(help="kafka, postgresql, redis; all of them without a name.")]


@cli.command()
def install(names: Names = None) -> None:
    """Brings what the servers need: Debian's packages, and Kafka's jars."""
    packages.install(_servers(names))


@cli.command()
def start(names: Names = None) -> None:
    """Installs and starts them; they go on until they are stopped. Their addresses stand in services.env."""
    servers = _servers(names)
    packages.install(servers)
    for server in servers:
        server.start()
    _tell()


@cli.command()
def stop(names: Names = None) -> None:
    """Ends those that were started here, and no other process; their state stays."""
    for server in _servers(names):
        typer.echo(f"{server.name} {'has stopped' if server.stop() else 'did not run'}")
    write_addresses()


@cli.command()
def status() -> None:
    """Says which of them run, and where."""
    _tell()


def _servers(names: list[str] | None) -> list[LocalServer]:
    for name in names or []:
        if name not in SERVERS:
            raise typer.BadParameter(f"{name} is none of {', '.join(SERVERS)}")
    return [server(HOME / name) for name, server in SERVERS.items() if name in (names or SERVERS)]


def _tell() -> None:
    here = running()
    for name in SERVERS:
        typer.echo(f"{name:<12}{here[name].address if name in here else 'does not run'}")
    typer.echo(f"as settings of the platform: {write_addresses()}")


if __name__ == "__main__":
    try:
        cli()
    except ServerError as error:
        sys.exit(str(error))
