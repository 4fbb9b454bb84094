"""Your own audio, pushed into a `Listener` block by block: no microphone, no thread, no clock.

    arecord -q -f S16_LE -r 48000 -c 1 -t raw | python examples/own_blocks.py
    python examples/own_blocks.py call.wav    # blocks of a mono file

Blocks are mono, int16 or float32, and of any length. They come from anywhere: 16-bit PCM
on stdin as here, a socket, a queue, a robot's bus.
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress

import numpy as np
import numpy.typing as npt
import soundfile

import edgeemo

STDIN_RATE = 48_000  # Hz
BLOCK_SAMPLES = 960

Block = npt.NDArray[np.int16]


def stdin_blocks() -> Iterator[Block]:
    while data := sys.stdin.buffer.read(2 * BLOCK_SAMPLES):
        yield np.frombuffer(data, "<i2", count=len(data) // 2)


def events_of(blocks: Iterable[Block], sample_rate: int) -> Iterator[edgeemo.Event]:
    listener = edgeemo.Listener(edgeemo.load("cnn_lstm"), sample_rate=sample_rate)
    listener.warm_up()  # the first inferences are slow; spend them on silence
    for block in blocks:
        yield from listener.push(block)
    yield from listener.flush()


def main(path: str | None) -> None:
    blocks, rate = stdin_blocks(), STDIN_RATE
    if path is not None:
        blocks = soundfile.blocks(path, BLOCK_SAMPLES, dtype="int16")
        rate = soundfile.info(path).samplerate
    for step in (event for event in events_of(blocks, rate) if isinstance(event, edgeemo.Step)):
        print(f"{step.time_s:.2f}\t{step.label or '-'}", flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(sys.argv[1] if len(sys.argv) > 1 else None)
