"""Where live audio comes from: a file or a microphone, interchangeable in the live loop."""

from edgeemo.sources.devices import InputDevice, list_devices
from edgeemo.sources.file import AudioFile
from edgeemo.sources.microphone import Microphone
from edgeemo.sources.source import Lost, Notice, Source

__all__ = ["AudioFile", "InputDevice", "Lost", "Microphone", "Notice", "Source", "list_devices"]
