"""`sluice`: one command for every role and for the people who run a sale."""

from typing import Annotated

import typer

from commands.options import with_settings
from commands.when_asked import CommandsWhenAsked
from sluice.settings import ConsumeSettings, EmbeddedSettings, GatewaySettings, RelaySettings, StockdSettings

app = typer.Typer(
    cls=CommandsWhenAsked, no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False
)


# Each role's parts are imported when it runs: a relay needs no Cassandra driver in memory.


@app.command()
@with_settings(EmbeddedSettings)
def serve(settings: EmbeddedSettings) -> None:
    """Everything in one process on SQLite files: no other server, durable, exact."""
    from commands import serve as role  # noqa: PLC0415

    role.run(settings)


@app.command()
@with_settings(GatewaySettings)
def gateway(settings: GatewaySettings) -> None:
    """The front door of a cluster. Stateless: run any number."""
    from commands import gateway as role  # noqa: PLC0415

    role.run(settings)


@app.command()
@with_settings(StockdSettings)
def stockd(settings: StockdSettings) -> None:
    """One stock server, with a stable name."""
    from commands import stockd as role  # noqa: PLC0415

    role.run(settings)


@app.command()
@with_settings(RelaySettings)
def relay(settings: RelaySettings) -> None:
    """Moves the outbox to Kafka. One is active; others stand by."""
    from commands import relay as role  # noqa: PLC0415

    role.run(settings)


@app.command()
@with_settings(ConsumeSettings)
def consume(
    settings: ConsumeSettings,
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="lifecycle, compensation, projection, or module:handler")
    ],
) -> None:
    """Runs consumers: Sluice's own, or handlers that you wrote. Run any number of each."""
    from commands import consume as role  # noqa: PLC0415

    role.run(settings, names)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
