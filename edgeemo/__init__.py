"""edgeemo: speech emotion recognition on the edge. Raw audio in, emotion probabilities out, in one ONNX file.

    import edgeemo

    model = edgeemo.load("cnn_lstm")
    print(model.classify("call.wav").label)

    with edgeemo.Microphone() as mic:
        for event in edgeemo.listen(mic, model):
            if isinstance(event, edgeemo.Utterance):
                print(event.start_s, event.label, event.arousal)

The names below load what they need when they are first used, so that `import edgeemo` alone costs nothing.
Threads: a model may be shared by any number of them; a `Listener`, a source and a generator of `listen` each belong
to one thread at a time.
"""

import os

# What type checkers take for true; `typing` would take longer to import than all of this module.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from edgeemo.answer import Answer, Judgement
    from edgeemo.errors import AudioError, DeviceError, EdgeEmoError, ModelError, ProfileError
    from edgeemo.events import End, Event, Gap, Start, Status, Step, Utterance
    from edgeemo.live import Listener, listen, listen_async
    from edgeemo.model import EmotionModel, Score, load
    from edgeemo.profile import Profile, read_profile
    from edgeemo.sources import AudioFile, Microphone

# onnxruntime 1.31 would write a device id to the user's cache at each start, and try to send events to its makers. It
# reads this when it is loaded, which every way to it comes after. Whoever has set it knows why.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "AudioError",
    "AudioFile",
    "DeviceError",
    "EdgeEmoError",
    "EmotionModel",
    "End",
    "Event",
    "Gap",
    "Judgement",
    "Listener",
    "Microphone",
    "ModelError",
    "Profile",
    "ProfileError",
    "Score",
    "Start",
    "Status",
    "Step",
    "Utterance",
    "__version__",
    "listen",
    "listen_async",
    "load",
    "read_profile",
]

_HOMES = {
    "edgeemo.answer": ("Answer", "Judgement"),
    "edgeemo.errors": ("AudioError", "DeviceError", "EdgeEmoError", "ModelError", "ProfileError"),
    "edgeemo.events": ("End", "Event", "Gap", "Start", "Status", "Step", "Utterance"),
    "edgeemo.live": ("Listener", "listen", "listen_async"),
    "edgeemo.model": ("EmotionModel", "Score", "load"),
    "edgeemo.profile": ("Profile", "read_profile"),
    "edgeemo.sources": ("AudioFile", "Microphone"),
}


def __getattr__(name: str) -> object:
    """Load a public name from its module when it is first used (PEP 562)."""
    import importlib

    for module, names in _HOMES.items():
        if name in names:
            found: object = getattr(importlib.import_module(module), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
