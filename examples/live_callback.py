"""Live, with a callback: a function of your own is called with everything that happens.

    python examples/live_callback.py             # the microphone, until Ctrl-C
    python examples/live_callback.py call.wav    # a file, as fast as it can be read

`edgeemo.listen` is a generator, so that a callback takes no more than a loop. It runs
in your own thread, and the microphone keeps recording meanwhile.
"""

import sys
from collections.abc import Callable
from contextlib import suppress

import edgeemo


def run(path: str | None, on_event: Callable[[edgeemo.Event], None]) -> None:
    model = edgeemo.load("cnn_lstm")
    with edgeemo.AudioFile(path, realtime=False) if path else edgeemo.Microphone() as source:
        for event in edgeemo.listen(source, model):
            on_event(event)


def show(event: edgeemo.Event) -> None:
    """The callback: whatever your program does with an event goes here."""
    match event:
        case edgeemo.Step():
            print(f"{event.time_s:.2f}\t{event.label or '-'}", flush=True)
        case edgeemo.Gap() | edgeemo.Status():
            print(event.to_dict(), file=sys.stderr)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        run(sys.argv[1] if len(sys.argv) > 1 else None, on_event=show)
