"""What a model file may be: every limit that is checked when a file is read, in one place.

A file from anywhere gives one line of error or a working model, within seconds and half a gigabyte. The limits are
far above what `edgeemo export` makes of any network that listens on a small device. Above them lies what is damaged,
or made to do harm.
"""

from __future__ import annotations

MAX_FILE_BYTES = 128 << 20
"""Of a model file. That of `resnet50_lstm` has 98 MB; onnxruntime holds up to three copies while it loads one."""

MAX_FIELDS = 500_000
"""Fields of the file's format (names, sizes, attributes). Shipped files have 5,000."""

MAX_NODES = 20_000
"""Nodes of a graph. Shipped files have 170."""

MAX_NAME_CHARS = 1000
"""Characters in the name of a graph's input or output, or of an operator."""

MAX_METADATA_BYTES = 1 << 20
"""Of all metadata together. Shipped files have 5 KB; a thousand speakers' names and scores are 50 KB."""

MAX_DEPTH = 20
"""Tables and lists inside each other, in the metadata."""

MAX_TEXT_CHARS = 10_000
"""Characters in one text of the metadata, or in one key."""

MAX_INTEGER = 2**53
"""In the metadata: beyond it, programs that read JSON numbers as floats see another number."""

MAX_LABELS = 1000
"""Labels of a model."""

MAX_LABEL_CHARS = 100
"""Characters in one label."""

MAX_WINDOW_STEPS = 10_000
"""Steps in a window: each takes one run when a stream graph is loaded."""

MAX_IMAGE_SIDE = 4096
"""Pixels, of height and width."""

MAX_STATES = 1000
"""States of a stream graph. Shipped files have up to 13."""

MAX_ELEMENTS = 1 << 22
"""Numbers in an input of the graph (a window's samples, a state), or in what one node makes of sizes that stand in
the file (`Range`, `Expand`, padding, ...).

Where sizes are computed, or grow by broadcasting, nobody knows them before the graph runs: there, the limit on inputs
and constants must do, and the time limit of the trial.
"""

MAX_TRIAL_S = 4.0
"""Seconds for the trial run at load: a window, an image, or the steps of a window of silence. The largest shipped
model takes 0.1 s."""

SUM_TOLERANCE = 1e-3
"""How far the sum of the probabilities may be from 1."""

_STANDARD = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift BitwiseAnd
BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Compress Concat Constant ConstantOfShape Conv
ConvInteger ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear Einsum
Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool
GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HammingWindow HannWindow HardSigmoid
HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less
LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul MatMulInteger Max MaxPool Mean
MeanVarianceNormalization Min Mish Mod Mul Neg NonZero Not OneHot Or PRelu Pad Pow QLinearConv QLinearMatMul
QuantizeLinear RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence Round ScatterElements
ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt
Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor
"""
_MICROSOFT = """
DynamicQuantizeLSTM QLinearAdd QLinearAveragePool QLinearConcat QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul
QLinearReduceMean QLinearSigmoid QLinearSoftmax QLinearWhere
"""

OPERATORS = frozenset(_STANDARD.split()) | frozenset(f"com.microsoft.{name}" for name in _MICROSOFT.split())
"""Operators that a file may have: the standard domain's arithmetic on tensors, which covers all that `edgeemo export`
writes, and keeps of networks made elsewhere; and onnxruntime's own for int8.

Left out are control flow (`Loop`, `If`, `Scan`: they may never end), random numbers (the same audio must get the same
label), sequences, optional values and text, functions, and every other domain.
"""
