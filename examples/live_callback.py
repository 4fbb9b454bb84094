"""Live, with a callback: a function of your own is called with every step.

    python examples/live_callback.py             # the microphone, until Ctrl-C
    python examples/live_callback.py call.wav    # a file, as fast as it can be read

`edgeemo.listen` is a generator, so that a callback takes no more than a loop. It runs
in your own thread, and the microphone keeps recording meanwhile.
"""

import sys
from collections.abc import Callable
from contextlib import suppress

import edgeemo


def run(path: str | None, on_step: Callable[[edgeemo.Step], None]) -> None:
    model = edgeemo.load("cnn_lstm")
    with edgeemo.AudioFile(path, realtime=False) if path else edgeemo.Microphone() as source:
        for step in edgeemo.listen(source, model):
            on_step(step)


def show(step: edgeemo.Step) -> None:
    """The callback: whatever your program does with a step goes here."""
    print(f"{step.time_s:.2f}\t{step.label or '-'}", flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        run(sys.argv[1] if len(sys.argv) > 1 else None, on_step=show)
