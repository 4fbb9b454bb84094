"""The live loop: audio in, events out."""

from edgeemo.live.listener import Listener
from edgeemo.live.loop import listen, listen_async
from edgeemo.live.statistics import LoopStatistics
from edgeemo.smoothing import Smooth

__all__ = ["Listener", "LoopStatistics", "Smooth", "listen", "listen_async"]
