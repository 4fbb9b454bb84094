"""A file in any version of ONNX's standard operators, as the same graph in the version that is written here.

Older versions are raised by ONNX's own converter. Newer ones it mostly does not lower, so this is done here: nearly
all operators of newer versions only take more types. Those that are new are replaced by what ONNX defines them as.
"""

from __future__ import annotations

import onnx
import onnx.defs
import onnx.inliner
import onnx.version_converter

from edgeemo.errors import ExportError
from edgeemo.workstation.graphs.editing import OPSET

_REMEDY = f"write it with opset {OPSET}, such as torch.onnx.export(..., opset_version={OPSET})"
_CHANGED = frozenset({"DFT", "GroupNormalization"})
"""Operators that take something else since, under the same name and with the same attributes."""


def converted(proto: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The same graph, written with the operators of `OPSET`.

    Args:
        proto: a checked model, of standard operators alone.
        name: of the file, for messages.

    Raises:
        ExportError: one of its operators, or all of its version, cannot be converted.
    """
    version = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    if version < OPSET:
        try:
            return onnx.version_converter.convert_version(proto, OPSET)
        except Exception as error:
            reason = str(error).rpartition("failed: ")[2].splitlines()[0]
            raise ExportError(
                f"{name} is written with opset {version}, which cannot be raised ({reason}); {_REMEDY}"
            ) from error
    return _lowered(proto, name, version) if version > OPSET else proto


def _lowered(proto: onnx.ModelProto, name: str, version: int) -> onnx.ModelProto:
    new = {node.op_type for node in proto.graph.node if node.op_type in _CHANGED or not _known(node.op_type)}
    if new:
        proto = onnx.inliner.inline_selected_functions(
            proto, [("", op_type) for op_type in new], inline_schema_functions=True
        )
    for node in proto.graph.node:
        if node.op_type in _CHANGED or not _known(node.op_type):
            raise ExportError(
                f"{name} is written with opset {version} and has {node.op_type} {node.name}, which opset {OPSET} has "
                f"not; {_REMEDY}"
            )
        _take_off_defaults(node, name, version)
    lowered = onnx.ModelProto()
    lowered.CopyFrom(proto)
    del lowered.opset_import[:]
    lowered.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    return lowered


def _known(op_type: str) -> bool:
    return bool(onnx.defs.has(op_type, max_inclusive_version=OPSET))


def _take_off_defaults(node: onnx.NodeProto, name: str, version: int) -> None:
    """Leave out attributes that came later, where they change nothing."""
    ours = onnx.defs.get_schema(node.op_type, max_inclusive_version=OPSET)
    theirs = onnx.defs.get_schema(node.op_type, max_inclusive_version=version)
    for attribute in [given for given in node.attribute if given.name not in ours.attributes]:
        if not _is_default(attribute, theirs.attributes[attribute.name].default_value):
            raise ExportError(
                f"{name} is written with opset {version}, and its {node.op_type} {node.name} has {attribute.name}, "
                f"which opset {OPSET} has not; {_REMEDY}"
            )
        node.attribute.remove(attribute)


def _is_default(given: onnx.AttributeProto, default: onnx.AttributeProto) -> bool:
    value = onnx.helper.get_attribute_value(given)
    if given.name == "dilations":  # without a default in its definition
        return set(value) == {1}
    return bool(default.name) and value == onnx.helper.get_attribute_value(default)
