"""Every error edgeemo raises on purpose: one root, thin subclasses.

The message of each is one line for a person: what was got, what was expected, what to do.
"""


class EdgeEmoError(Exception):
    """Root of all errors that edgeemo raises on purpose."""


class ModelError(EdgeEmoError):
    """A model file is missing, is not an edgeemo model, or its metadata does not fit its graph."""


class AudioError(EdgeEmoError):
    """An audio file or block cannot be read or has an impossible shape, rate or value."""


class DeviceError(EdgeEmoError):
    """PortAudio or a microphone is missing, refuses to open, or went away."""


class ProfileError(EdgeEmoError):
    """A profile cannot be read, or is of another model."""


class CorpusError(EdgeEmoError):
    """A corpus folder, a manifest or one of its clips is not what a loader expects."""


class RecipeError(EdgeEmoError):
    """A recipe file has an unknown, missing or impossible setting."""


class TrainingError(EdgeEmoError):
    """A training run cannot start or go on."""


class ExportError(EdgeEmoError):
    """A model cannot be exported, or its export failed a check."""


class ParityError(ExportError):
    """The exported graph does not compute what the source model computes."""


class ClusterError(EdgeEmoError):
    """A Ray cluster cannot be reached, or a job on it failed."""


class OutputError(EdgeEmoError):
    """What was asked for cannot be written where it was asked for."""


class DownloadError(EdgeEmoError):
    """What is not in the wheel cannot be had, or is not what was expected."""


class MissingExtraError(EdgeEmoError):
    """What was asked for needs an extra that is not installed."""
