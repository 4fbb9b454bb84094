"""A meter in a window: what somebody sounds like, from calm to agitated.

    python examples/meter.py             # the microphone, until the window is closed
    python examples/meter.py call.wav    # a file, in real time

The loop runs in a thread; the window looks ten times a second for what it has left.
"""

import queue
import sys
import threading
import tkinter
from tkinter import ttk

import edgeemo


def listen(source: edgeemo.AudioFile | edgeemo.Microphone, events: queue.SimpleQueue) -> None:
    with source:
        for event in edgeemo.listen(source, edgeemo.load("emo_small"), smooth="light"):
            events.put(event)


def show(event: edgeemo.Event, label: ttk.Label, meter: ttk.Progressbar) -> None:
    if isinstance(event, edgeemo.Step):
        label["text"] = event.label or f"({event.reason})"
        meter["value"] = 100 * (event.arousal or 0)


def main(path: str | None) -> None:
    source = edgeemo.AudioFile(path) if path else edgeemo.Microphone()
    events, window = queue.SimpleQueue(), tkinter.Tk(className="edgeemo")
    label = ttk.Label(window, font=("", 24), width=16, anchor="center")
    meter = ttk.Progressbar(window, length=400)
    label.pack()
    meter.pack(padx=12, pady=12)

    def look() -> None:
        while not events.empty():
            show(events.get(), label, meter)
        window.after(100, look)

    threading.Thread(target=listen, args=(source, events), daemon=True).start()
    look()
    window.mainloop()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
