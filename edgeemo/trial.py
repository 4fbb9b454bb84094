"""One run of a graph when it is loaded: that it runs at all, and that what it gives are probabilities."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from edgeemo.errors import ModelError
from edgeemo.limits import MAX_TRIAL_S, SUM_TOLERANCE
from edgeemo.session import reason

Arrays = Sequence[npt.NDArray[np.float32]]


def try_silence(
    session: ort.InferenceSession,
    path: Path,
    inputs: Mapping[str, Sequence[int]],
    *,
    n_labels: int,
    carried: Mapping[str, str] | None = None,
    n_runs: int = 1,
) -> Arrays:
    """Run a graph on zeros, several times in a row if it carries states.

    Args:
        session: of the file.
        path: of the file, for the message.
        inputs: name -> shape of every input.
        n_labels: how many probabilities there are.
        carried: output -> the input of the next run that it is.
        n_runs: how many runs.

    Returns:
        what is carried out of the last run, in the order of `carried`.

    Raises:
        ModelError: a run fails, or takes too long altogether; what comes out is no probabilities.
    """
    carried = carried or {}
    feeds = {name: np.zeros(shape, np.float32) for name, shape in inputs.items()}
    options = ort.RunOptions()
    options.log_severity_level = 4

    def stop() -> None:
        options.terminate = True

    timer = threading.Timer(MAX_TRIAL_S, stop)
    timer.daemon = True
    timer.start()
    try:
        for _ in range(n_runs):
            probabilities, *following = session.run(["probabilities", *carried], feeds, options)
            _check(probabilities, n_labels, path)
            feeds.update(zip(carried.values(), following, strict=True))
    except ModelError:
        raise
    except Exception as error:
        why = f"takes longer than {MAX_TRIAL_S:g} s" if options.terminate else f"fails ({reason(error)})"
        raise ModelError(f"{path}: its graph loads, but running it {why}; export the model again") from error
    finally:
        timer.cancel()
    states = [feeds[name] for name in carried.values()]
    if any(state.shape != tuple(inputs[name]) for name, state in zip(carried.values(), states, strict=True)):
        raise ModelError(f"{path}: a state's shape changes as the graph runs; export the model again")
    if not all(np.isfinite(state).all() for state in states):
        raise ModelError(
            f"{path}: of silence it makes states that are NaN or infinite; export the model again"
        )
    return states


def _check(probabilities: npt.NDArray[np.float32], n_labels: int, path: Path) -> None:
    if probabilities.shape != (1, n_labels):
        raise ModelError(
            f"{path}: running it gives probabilities of the shape {probabilities.shape}, expected (1, {n_labels}); "
            "export the model again"
        )
    total = float(probabilities.sum(dtype=np.float64))
    # No comparison with NaN holds.
    if not (bool((probabilities >= 0).all()) and abs(total - 1) <= SUM_TOLERANCE):
        raise ModelError(
            f"{path}: of silence it makes probabilities from {probabilities.min():g} to {probabilities.max():g} "
            f"with the sum {total:g}, expected numbers from 0 that sum to 1; export the model again"
        )
