"""Which nodes of a network are faster in float: measured, not guessed.

int8 has a cost around each node: quantising its input, another layout for convolutions, scaling its output back. A
convolution with one channel, or a small one in a stream graph, does not earn that back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeemo.bench.turns import take_turns, timed_steps
from edgeemo.workstation.graphs.calibrate import Batch
from edgeemo.workstation.graphs.editing import open_session
from edgeemo.workstation.graphs.quantize import Quantizer


@dataclass(frozen=True)
class Choice:
    """A quantised network, and what it was chosen among.

    Attributes:
        model: the network.
        keep_float: names of the nodes that are computed in float, in the graph's order.
        latency_ms: medians of one race on one thread: `fp32`, `int8` (with everything quantised that can be),
            `chosen`.
    """

    model: ir.Model
    keep_float: tuple[str, ...]
    latency_ms: dict[str, float]


def choose_float(
    model: ir.Model,
    batches: Sequence[Batch],
    *,
    margin: float = 0.03,
    rounds: int = 40,
    runs: int = 5,
) -> Choice:
    """Quantise a network, except for what is faster in float on this machine.

    Greedy: starting from all int8, the node or kind of node (all convolutions, all dense layers, all LSTMs,
    everything) whose return to float makes the network fastest goes back, as long as that gains more than `margin`.
    Candidates are timed in rounds, so that a machine's other work hits all alike. It costs no bytes: the weights of a
    node in float are stored as int8 too. Deterministic but for the clock.

    Args:
        model: as for `quantize`.
        batches: as for `quantize`; the first one is timed.
        margin: share of the latency that a return to float must gain.
        rounds: turns of each candidate.
        runs: inferences in a turn.

    Raises:
        ExportError: as `quantize`.
    """
    quantizer = Quantizer(model, batches)
    kept: frozenset[str] = frozenset()
    while len(kept) < len(quantizer.candidates):
        options = [kept, *_returns(quantizer.candidates, kept)]
        times_ms = race([quantizer(option) for option in options], batches[0], rounds=rounds, runs=runs)
        ratios = np.median(times_ms / times_ms[0], axis=1)
        best = int(ratios.argmin())
        if ratios[best] >= 1 - margin:
            break
        kept = options[best]
    chosen = quantizer(kept)
    times_ms = race([model, quantizer(), chosen], batches[0], rounds=rounds, runs=runs)
    medians = np.median(times_ms, axis=1)
    return Choice(
        model=chosen,
        keep_float=tuple(name for name in quantizer.candidates if name in kept),
        latency_ms=dict(zip(("fp32", "int8", "chosen"), map(float, medians), strict=True)),
    )


def race(models: Sequence[ir.Model], inputs: Batch, *, rounds: int, runs: int) -> npt.NDArray[np.float64]:
    """Time models against each other, one thread each.

    Args:
        models: all with the same inputs.
        inputs: what each inference gets.
        rounds: in each, every model has one turn.
        runs: inferences in a turn.

    Returns:
        ms: the median of each turn, shape `(n_models, rounds)`.
    """
    compared = [timed_steps(partial(open_session(model).run, None), repeat(dict(inputs))) for model in models]
    # Without settling steps: a slow first run hardly moves the median of a turn.
    taken = take_turns(compared, rounds * runs, block_steps=runs, settling_steps=0)
    return np.array([np.median(np.reshape(own.steps, (rounds, runs)), axis=1) for own in taken])


def _returns(candidates: Mapping[str, str], kept: frozenset[str]) -> list[frozenset[str]]:
    """What could go back to float next: a node, all of one kind, or everything."""
    left = {name: kind for name, kind in candidates.items() if name not in kept}
    groups = [{name} for name in left]
    for kinds in (("Conv",), ("Gemm", "MatMul"), ("LSTM",), tuple(left.values())):
        groups.append({name for name, kind in left.items() if kind in kinds})
    return list(dict.fromkeys(kept | group for group in groups if group))
