"""The options that say where the events of `edgeemo listen` go, beside what it shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeemo.cli.extras import extras

if TYPE_CHECKING:
    from edgeemo.features import Features
    from edgeemo.sinks.server import Server
    from edgeemo.sinks.sink import Background

RECORD_LIMIT_MB = 1000
_N_RECORDINGS = 20
"""How many utterances may wait to be written: each holds its audio, up to 2 MB."""

Csv = Annotated[
    Path | None,
    typer.Option(
        "--csv",
        metavar="FILE",
        help="Write a row for each utterance into this new file, which can be read any time.",
    ),
]
Record = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Write each utterance into this folder: FLAC, and what was heard as JSON."
    ),
]
RecordLimit = Annotated[
    int | None,
    typer.Option(
        metavar="MB",
        min=1,
        help=f"What the recordings may take: the oldest are deleted.  \\[default: {RECORD_LIMIT_MB}]",
        show_default=False,
    ),
]


def _webhook_address(url: str | None) -> str | None:
    """Check an address without repeating it: it may be a secret."""
    if url is not None:
        from edgeemo.sinks.webhook import Webhook

        try:
            Webhook(url)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    return url


def _mqtt_address(url: str | None) -> str | None:
    if url is not None:
        from edgeemo.sinks.mqtt import Address

        try:
            Address.parse(url)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    return url


def _serve_address(text: str | None) -> str | None:
    if text is not None:
        from edgeemo.sinks.server import Address

        try:
            Address.parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    return text


Post = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="EDGEEMO_POST",
        callback=_webhook_address,
        help="POST what happens as JSON to this address: all events but steps.",
    ),
]
Mqtt = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="EDGEEMO_MQTT",
        callback=_mqtt_address,
        help="Publish it at an MQTT broker: mqtt://[USER:PASSWORD@]HOST[:PORT]/TOPIC.",
    ),
]

Serve = Annotated[
    str | None,
    typer.Option(
        metavar="[HOST:]PORT",
        callback=_serve_address,
        help="Show a live page at this port of this machine; at /events of it, programs get the events. "
        "With a HOST such as 0.0.0.0, everybody who reaches it hears them, and the audio.",
    ),
]


def server_for(serve: str, *, features: Features, source_rate: int, lossless: bool) -> Server:
    """The live page's server, whose port is taken; what is heard is to be given to `Server.hear`.

    Args:
        serve: the option.
        features: of the model.
        source_rate: Hz of what is heard.
        lossless: as for `sinks_for`.

    Raises:
        OutputError: the address cannot be used.
        MissingExtraError: the extra `serve` is not installed.
    """
    from edgeemo.sinks.server import Address, Server
    from edgeemo.web.live import live_files

    with extras():
        return Server(
            Address.parse(serve),
            live_files(features),
            source_rate=source_rate,
            sample_rate=features.sample_rate,
            lossless=lossless,
        )


def sinks_for(
    *,
    csv: Path | None,
    record: Path | None,
    record_limit: int | None,
    post: str | None,
    mqtt: str | None,
    server: Server | None,
    sample_rate: int,
    lossless: bool,
    stopped: Callable[[], bool],
) -> list[Background]:
    """What the options ask for. Files are checked here; a server need not be there yet.

    Args:
        csv, record, record_limit, post, mqtt: the options.
        server: of `server_for`; None: none.
        sample_rate: Hz of the utterances' audio: the model's.
        lossless: whether the loop waits for files to be written and for those who are served, as it may where it
            listens to a file itself.
        stopped: whether the loop has been stopped.

    Raises:
        OutputError: a file cannot be written.
        MissingExtraError: the extra `mqtt` is not installed.
    """
    from edgeemo.sinks.sink import TOLD, Background, OnError

    sinks = []
    if csv is not None:
        from edgeemo.sinks import table

        sinks.append(
            Background(
                table.Table(csv),
                f"the table {csv}",
                only=table.TAKEN,
                lossless=lossless,
                on_error=OnError.SKIP,
                stopped=stopped,
            )
        )
    if record is not None:
        from edgeemo.sinks import recorder

        limit_mb = RECORD_LIMIT_MB if record_limit is None else record_limit
        sinks.append(
            Background(
                recorder.Recorder(record, sample_rate=sample_rate, limit_mb=limit_mb),
                f"recording to {record}",
                only=recorder.TAKEN,
                capacity=_N_RECORDINGS,
                lossless=lossless,
                on_error=OnError.SKIP,
                stopped=stopped,
            )
        )
    if post is not None:
        from edgeemo.sinks.webhook import Webhook

        webhook = Webhook(post)
        sinks.append(
            Background(
                webhook,
                f"the webhook at {webhook.server}",
                only=TOLD,
                on_error=OnError.RETRY,
                stopped=stopped,
            )
        )
    if mqtt is not None:
        from edgeemo.sinks.mqtt import Address, Publisher

        address = Address.parse(mqtt)
        name = f"the MQTT broker at {address.host}:{address.port}"
        with extras():
            publisher = Publisher(address)
        sinks.append(Background(publisher, name, only=TOLD, on_error=OnError.RETRY, stopped=stopped))
    if server is not None:
        sinks.append(
            Background(
                server,
                f"the server at {server.url}",
                lossless=lossless,
                on_error=OnError.SKIP,
                stopped=stopped,
            )
        )
    return sinks
