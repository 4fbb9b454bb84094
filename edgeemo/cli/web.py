"""`edgeemo web`: a model in a browser."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Annotated

import typer

from edgeemo.places import DEFAULT_MODEL

_DEFAULT_PORT = 8010


def web_command(
    model: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="A shipped model's name, or an .onnx file.")
    ] = DEFAULT_MODEL,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="The folder to write.")
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Take onnxruntime-web from this folder of its npm package, instead of downloading it once.",
        ),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Show the page on this machine, until Ctrl-C.")
    ] = False,
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="With --serve: the port; 0: any that is free.")
    ] = _DEFAULT_PORT,
) -> None:
    """Write a page that runs a model in a browser: a static folder, for any web server, or shown here by --serve.

    Audio stays in the browser. The folder is an npm package too: edgeemo.js is the live loop without the page.
    """
    if output is None and not serve:
        raise typer.BadParameter("give a folder to write, or --serve", param_hint="--output")

    from edgeemo.web.runtime import runtime_files
    from edgeemo.web.server import HOST, site_server
    from edgeemo.web.site import write_site

    with ExitStack() as stack:
        folder = output or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeemo-web-")))
        variant = write_site(folder, model, runtime_files(runtime))
        if output is not None:
            print(f"{output}: the page of {variant}", flush=True)
        if not serve:
            return
        server = stack.enter_context(site_server(folder, port))
        print(f"http://{HOST}:{server.server_port}/ (Ctrl-C ends it)", flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
