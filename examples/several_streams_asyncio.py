"""asyncio: several streams in one event loop, all with the same model.

    python examples/several_streams_asyncio.py                     # the microphone
    python examples/several_streams_asyncio.py left.wav right.wav  # files, at once

`edgeemo.listen_async` waits for audio, and computes, in one of asyncio's threads, so
that the event loop stays free for the rest of your program. Ctrl-C ends it.
"""

import asyncio
import sys
from contextlib import suppress

import edgeemo


async def follow(source: edgeemo.AudioFile | edgeemo.Microphone, model: edgeemo.EmotionModel) -> None:
    """Print a line whenever the label changes."""
    label = None
    with source:
        async for event in edgeemo.listen_async(source, model):
            if isinstance(event, edgeemo.Step) and event.label not in (None, label):
                label = event.label
                print(f"{source.name}\t{event.time_s:.2f}\t{label}", flush=True)


async def main(paths: list[str]) -> None:
    model = edgeemo.load("cnn_lstm")
    async with asyncio.TaskGroup() as tasks:
        for path in paths:
            tasks.create_task(follow(edgeemo.AudioFile(path, realtime=False), model))
        if not paths:
            tasks.create_task(follow(edgeemo.Microphone(), model))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1:]))
