"""The walk that turns a window graph into a stream: what it knows of each value, and what rules may ask and say."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from edgeemo.errors import ExportError
from edgeemo.metadata import State
from edgeemo.workstation.graphs.editing import (
    constant,
    operand,
    optional_input,
    remove_unused,
    shape_of,
    substitute,
)
from edgeemo.workstation.graphs.nodes import Nodes
from edgeemo.workstation.graphs.past import Carried

PREFIX = "stream/"
EXTENT = "extent"
"""The state of a delayed stream that holds how many frames there have been, and how many there are in all: 0 while
the end is not known. A host that sets the second number gets, after the delay, the answer of an utterance that ends
there.
"""
_ENDLESS = np.finfo(np.float32).max


@dataclass(frozen=True)
class Ahead:
    """Positions behind the last that padding added: nothing may use them before they are cut off again.

    Attributes:
        n: how many, in the window graph; a stream graph has none of them.
        refusal: what to raise where they are used.
    """

    n: int
    refusal: ExportError


@dataclass(frozen=True)
class Time:
    """How time runs through a value.

    Attributes:
        axis: the axis along which it runs.
        length: positions in the window graph.
        stride: feature frames from one position to the next.
        past: positions in front of these, left by earlier audio (explicit padding before a convolution).
        ahead: positions behind these, in the window graph alone (a convolution padded on both sides, whose end is
            cut off after it).
        delay: frames by which a position comes later in a stream than the audio that it is of, in the window graph;
            a multiple of the stride. Only what looks ahead adds to it.
    """

    axis: int
    length: int
    stride: int
    past: int = 0
    ahead: Ahead | None = None
    delay: int = 0


Rule = Callable[["Walk", ir.Node], None]
"""Gives a node that time runs into its streaming form, or refuses it with an `ExportError`."""


class Walk:
    """One walk over one graph, which it changes.

    Args:
        graph: a window graph.
        step_frames: new frames in a step.
        rules: by operator.
        attention: the operators that weights over time may pass on their way to their sum.
        frame_ms: how long a frame lasts, for messages.
        delay: the least number of frames by which answers come late; None where nothing may look ahead.

    Attributes:
        graph: as given.
        step_frames: as given.
        frame_ms: as given.
        delay: by how many frames the answers come late; None where nothing may look ahead.
        nodes: records what a rule adds; it goes in front of the rule's own node.
        carried: the states.
        times: of each value that time runs through.
        answers: values made from the audio so far that time does not run through.
        shares: of weights over time, this step's share of all weights so far.
    """

    def __init__(
        self,
        graph: ir.Graph,
        step_frames: int,
        rules: Mapping[str, Rule],
        attention: Collection[str],
        *,
        frame_ms: float,
        delay: int | None = None,
    ) -> None:
        self.graph = graph
        self.step_frames = step_frames
        self.frame_ms = frame_ms
        self.delay = delay
        self.nodes = Nodes(PREFIX)
        self.carried = Carried("state")
        self.times: dict[ir.Value, Time] = {}
        self.answers: set[ir.Value] = set()
        self.shares: dict[ir.Value, ir.Value] = {}
        self._rules, self._attention = rules, attention
        self._shapes: dict[ir.Value, tuple[int, ...]] = {}
        self._extent: tuple[ir.Value, ir.Value] | None = None

    def run(self) -> list[State]:
        """Change the graph.

        Returns:
            its states.

        Raises:
            ExportError: the graph cannot be streamed.
        """
        (features,) = self.graph.inputs
        for value in [features, *(output for node in self.graph for output in node.outputs)]:
            if value.uses() or value.is_graph_output():
                self._shapes[value] = shape_of(value)
        n_frames = self.shape(features)[1]
        if self.step_frames > n_frames:
            raise ExportError(
                f"a step of {self.step_frames} frames is longer than the window of {n_frames}; use a shorter step"
            )
        self._set(features, Time(axis=1, length=n_frames, stride=1), "the features")
        for node in list(self.graph):
            of_audio = any(value in self.answers for value in node.inputs)
            if any(value in self.times for value in node.inputs):
                if of_audio:
                    # Earlier positions would have met what was known then, not what is known now.
                    raise refusal(
                        node,
                        "brings what is known of the whole window into each position",
                        "combine positions with positions, and the whole window with the whole window",
                    )
                self._follow(node)
                of_audio = True
            if of_audio:
                self.answers.update(output for output in node.outputs if output not in self.times)
        (probabilities,) = self.graph.outputs
        if probabilities in self.times:
            ahead = self.times[probabilities].ahead
            if ahead:
                raise ahead.refusal
            raise ExportError(
                f"{probabilities.name} has an answer for each position; end the network with one for the whole window"
            )
        if self.delay:  # what keeps a layer's states comes behind the layer
            self.graph.sort()
        self._free_names()
        self.graph.inputs.extend(self.carried.inputs)
        self.graph.outputs.extend(self.carried.outputs)
        remove_unused(self.graph)
        return self.carried.states

    def _follow(self, node: ir.Node) -> None:
        """Give a node that time runs into its streaming form."""
        rule = None if node.domain else self._rules.get(node.op_type)
        if rule is None:
            raise refusal(node, "has no streaming form", "leave it out, or export a window graph")
        if node.op_type not in self._attention and any(value in self.shares for value in node.inputs):
            raise weights_refusal(node)
        rule(self, node)
        self.nodes.insert(self.graph, before=node)

    def _free_names(self) -> None:
        """Rename other values that have the name of a state."""
        own = {*self.carried.inputs, *self.carried.outputs}
        names = {value.name for value in own}
        outputs = (output for node in self.graph for output in node.outputs)
        for value in [*self.graph.inputs, *self.graph.initializers.values(), *outputs]:
            if value.name in names and value not in own:
                value.name = f"{PREFIX}{value.name}"

    # What rules may ask and say.

    def hand_on(self, node: ir.Node, time: Time, *, output: int = 0) -> None:
        """Say that time runs through this output of `node`."""
        self._set(node.outputs[output], time, title(node))

    def hand_on_share(self, node: ir.Node, follow: Callable[[ir.Value], ir.Value] | None = None) -> None:
        """If `node` takes weights over time, say that it gives such weights too.

        Args:
            node: the rule's node, whose time is handed on.
            follow: makes their share; given one that has all axes of the weights it is of. By default it stays.

        Raises:
            ExportError: it takes several.
        """
        weights = [value for value in node.inputs if value in self.shares]
        if len(weights) > 1:
            raise refusal(
                node, "multiplies weights over time by each other", "give each a weighted sum of its own"
            )
        if not weights:
            return
        share, output = self.shares[weights[0]], node.outputs[0]
        if follow is not None:
            shape = self._share_shape(weights[0])
            whole = share if share.shape == shape else self.nodes("Expand", share, self.nodes.ints(shape))
            share = follow(whole)
            share.shape = ir.Shape(self._share_shape(output))
        self.shares[output] = share

    def _share_shape(self, weights: ir.Value) -> tuple[int, ...]:
        """One number for all positions: what the weights have been multiplied with may have given them more bands."""
        axis = self.times[weights].axis
        return tuple(1 if a == axis else size for a, size in enumerate(self.shape(weights)))

    def end_time(self, node: ir.Node, value: ir.Value) -> None:
        """Put `value`, which time does not run through, in place of the output of `node`."""
        output = node.outputs[0]
        if output.is_graph_output() and value in self.carried.outputs:
            value = self.nodes("Identity", value)  # the answer has a name of its own
        self.answers.add(value)
        substitute(output, value)

    def step_length(self, time: Time) -> int:
        """The positions in a step."""
        return self.step_frames // time.stride

    def put_past(
        self,
        node: ir.Node,
        index: int,
        n: int,
        time: Time,
        *,
        looks_ahead: bool = False,
        nothing: float | None = 0.0,
    ) -> None:
        """Put the last `n` positions of earlier steps in front of an input of `node`.

        Args:
            node, index: the input.
            n: how many.
            time: of the input.
            looks_ahead: whether `node` uses positions behind the one that it computes.
            nothing: what stands for positions before the first, and behind the last; None if they are in the input.
        """
        holds = f"{'frames' if time.stride == 1 else 'positions'} before {title(node)}"
        value = operand(node, index)
        joined = self.carried(self.nodes, value, n, time.axis, holds, n_new=self.step_length(time))
        if nothing is not None and (time.delay or looks_ahead):
            joined = self._only_there(joined, time, n, nothing)
        node.replace_input_with(index, joined)

    def delayed(self, node: ir.Node, index: int, delay: int) -> Time:
        """Make an input of `node` come `delay` frames late.

        Returns:
            the time that it then has.
        """
        value = operand(node, index)
        time = self.times[value]
        n = (delay - time.delay) // time.stride
        if n == 0:
            return time
        later = self._shifted(value, n, time.axis, title(node), n_new=self.step_length(time))
        later.shape, later.type = value.shape, value.type
        self._shapes[later] = self.shape(value)
        self.times[later] = replace(time, delay=delay)
        if value in self.shares:  # one number for each step
            steps, share = (delay - time.delay) // self.step_frames, self.shares[value]
            share = self._shifted(share, steps, time.axis, title(node), n_new=1)
            share.shape = self.shares[value].shape
            self.shares[later] = share
        node.replace_input_with(index, later)
        return self.times[later]

    def aligned(self, node: ir.Node, index: int, n_frames: int) -> Time:
        """Delay an input of `node` until its delay is a multiple of `n_frames`; the time that it then has."""
        time = self.times[operand(node, index)]
        return self.delayed(node, index, math.ceil(time.delay / n_frames) * n_frames)

    def together(self, node: ir.Node) -> Time:
        """Delay the inputs of `node` until they come together; the time of the first that has one.

        Weights over time have a share for each step: they are delayed by whole steps.
        """
        timed = [i for i, value in enumerate(node.inputs) if value in self.times]
        delay = max(self.times[operand(node, i)].delay for i in timed)
        if any(value in self.shares for value in node.inputs):
            delay = math.ceil(delay / self.step_frames) * self.step_frames
        times = [self.delayed(node, i, delay) for i in timed]
        return times[0]

    def end(self, node: ir.Node, index: int = 0) -> Time:
        """Delay an input of `node`, which ends time, by whole steps, and as long as every answer; its time."""
        time = self.aligned(node, index, self.step_frames)
        if self.delay is not None:
            self.delay = max(self.delay, time.delay)
            time = self.delayed(node, index, self.delay)
        return time

    def carry(self, state: ir.Value, following: ir.Value, time: Time) -> ir.Value:
        """Say what a state becomes that a layer over time starts with.

        Args:
            state: as `carried.add` gave it.
            following: what it becomes where the step has positions; in steps before the first and behind the last of
                an utterance it stays.
            time: of what the layer is given; delayed by whole steps.

        Returns:
            what it becomes.
        """
        if time.delay:
            there = self._there(np.zeros(1), time)
            following = self.nodes("Where", there, following, state)
        self.carried.carry(state, following)
        return following

    def _shifted(self, value: ir.Value, n: int, axis: int, what: str, *, n_new: int) -> ir.Value:
        """A value as it was `n` positions earlier."""
        size = shape_of(value)[axis]
        joined = self.carried(self.nodes, value, n, axis, f"positions that wait before {what}", n_new=n_new)
        bounds = (self.nodes.ints([0]), self.nodes.ints([size]), self.nodes.ints([axis]))
        return self.nodes("Slice", joined, *bounds)

    def _only_there(self, value: ir.Value, time: Time, n_past: int, nothing: float) -> ir.Value:
        """A value, with something else in positions before the first and behind the last of an utterance."""
        shape = shape_of(value)
        positions = np.arange(shape[time.axis]) - n_past - time.past
        there = self._there(positions * time.stride, time)
        along = np.ones(len(shape), np.int64)
        along[time.axis] = -1
        there = self.nodes("Reshape", there, self.nodes.ints(along))
        kept = self.nodes("Where", there, value, self.nodes.floats(nothing))
        kept.shape, kept.type = value.shape, value.type
        return kept

    def _there(self, frames: np.ndarray, time: Time) -> ir.Value:
        """Whether positions are there, given by their frames from the step's first on."""
        so_far, in_all = self._extents()
        positions = self.nodes("Add", so_far, self.nodes.floats(frames - time.delay))
        begun = self.nodes("GreaterOrEqual", positions, self.nodes.floats(0.0))
        return self.nodes("And", begun, self.nodes("Less", positions, in_all))

    def _extents(self) -> tuple[ir.Value, ir.Value]:
        """How many frames there have been before this step, and how many there are in all; shape `(1,)` each."""
        if self._extent is None:
            state = self.carried.add((2,), "frames so far, and in all where the end is known", name=EXTENT)
            self.carried.carry(state, self.nodes("Add", state, self.nodes.floats([self.step_frames, 0])))
            so_far, in_all = (self.nodes("Gather", state, self.nodes.ints([i]), axis=0) for i in (0, 1))
            known = self.nodes("Greater", in_all, self.nodes.floats(0.0))
            in_all = self.nodes("Where", known, in_all, self.nodes.floats(_ENDLESS))
            self._extent = so_far, in_all
        return self._extent

    def only_time(self, node: ir.Node, index: int = 0, *, padded: bool = False) -> Time:
        """The time of an input, for a rule that lets time run through that input alone.

        Args:
            node: the rule's node.
            index: of the input.
            padded: whether the rule allows positions that padding added.

        Raises:
            ExportError: time runs through another input too, or not through this one; or padding.
        """
        timed = [i for i, value in enumerate(node.inputs) if value in self.times]
        if timed != [index]:
            raise refusal(node, "combines audio with audio", "streaming needs constant weights here")
        time = self.times[operand(node, index)]
        if not padded:
            self.refuse_padding(node, time)
        return time

    def refuse_padding(self, node: ir.Node, time: Time) -> None:
        """Refuse positions that padding added, in a rule that takes none.

        Raises:
            ExportError: there are some.
        """
        if time.ahead:
            raise time.ahead.refusal
        if time.past:
            raise padding_refusal(node)

    def shape(self, value: ir.Value) -> tuple[int, ...]:
        """The shape of a value in the window graph, or of a constant."""
        return self._shapes[value] if value in self._shapes else shape_of(value)

    def input_shape(self, node: ir.Node, index: int = 0) -> tuple[int, ...]:
        return self.shape(operand(node, index))

    def output_shape(self, node: ir.Node) -> tuple[int, ...]:
        return self.shape(node.outputs[0])

    def _set(self, value: ir.Value, time: Time, what: str) -> None:
        if self.step_frames % time.stride:
            raise ExportError(
                f"{what}: one position spans {time.stride} frames, a step {self.step_frames}; use a step that is a "
                f"multiple of {time.stride} frames, or less pooling in time"
            )
        shape = list(self.shape(value))
        shape[time.axis] = time.past + self.step_length(time)
        value.shape = ir.Shape(shape)
        self.times[value] = time


def title(node: ir.Node) -> str:
    return f"{node.op_type} {node.name}"


def refusal(node: ir.Node, problem: str, advice: str) -> ExportError:
    return ExportError(f"cannot stream {title(node)}: it {problem}; {advice}")


def padding_refusal(node: ir.Node) -> ExportError:
    return refusal(node, "follows padding in time", "pad right before a convolution")


def two_sided_refusal(node: ir.Node, begin: int | None = None, end: int | None = None) -> ExportError:
    by = "on both sides" if begin is None else f"by {begin} and {end}"
    return refusal(node, f"pads time {by}", 'pad zeros on the past side only (padding="causal")')


def look_ahead_refusal(node: ir.Node, ms: float) -> ExportError:
    return refusal(
        node,
        f"pads time on both sides and so looks {ms:g} ms ahead",
        'pad zeros on the past side only (padding="causal"), or accept a delay with --delay',
    )


def weights_refusal(node: ir.Node) -> ExportError:
    return refusal(
        node, "uses weights over the whole window", "only a weighted sum over time has a running form"
    )


def constant_input(node: ir.Node, index: int) -> np.ndarray:
    """An input that must be constant.

    Raises:
        ExportError: it is computed.
    """
    value = operand(node, index)
    array = constant(value)
    if array is None:
        raise refusal(node, f"computes {value.name}", "make it a constant")
    return array


def constant_ints(node: ir.Node, index: int) -> list[int]:
    """The numbers in an input that must be constant; none if it is left out."""
    if optional_input(node, index) is None:
        return []
    return [int(n) for n in constant_input(node, index).ravel()]
