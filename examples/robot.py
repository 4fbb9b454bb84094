"""A robot's loop: act on a label only after it has stayed confident for a while.

    python examples/robot.py             # the microphone, until Ctrl-C
    python examples/robot.py call.wav    # a file, as fast as it can be read

A single step is easily wrong. Here the same label must reach `THRESHOLD` in `N_STEPS`
steps in a row, about half a second. The robot then acts once; a pause, another label or
a doubtful step starts the count again.
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress

import edgeemo

THRESHOLD = 0.45
N_STEPS = 3  # of 160 ms each


def confident(events: Iterable[edgeemo.Event]) -> Iterator[edgeemo.Step]:
    """The steps at which a label has stayed confident for long enough."""
    label, n_steps = None, 0
    for event in events:
        if not isinstance(event, edgeemo.Step):
            continue
        if event.label is None or event.probabilities[event.label] < THRESHOLD:
            label, n_steps = None, 0
            continue
        n_steps = n_steps + 1 if event.label == label else 1
        label = event.label
        if n_steps == N_STEPS:
            yield event


def act(step: edgeemo.Step) -> None:
    """Turn the head, play a sound, slow down: whatever your robot does."""
    print(f"{step.time_s:.2f}\t{step.label}", flush=True)


def main(path: str | None) -> None:
    model = edgeemo.load("cnn_lstm")
    with edgeemo.AudioFile(path, realtime=False) if path else edgeemo.Microphone() as source:
        for step in confident(edgeemo.listen(source, model)):
            act(step)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(sys.argv[1] if len(sys.argv) > 1 else None)
