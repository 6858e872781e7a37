"""The operators a graph may use: standard, deterministic, without control flow or strings.

Left out on purpose: everything random (also ``Dropout`` and ``Bernoulli``), ``If``, ``Loop`` and
``Scan``, sequences, optionals, strings, shapes that depend on values (``NonZero``, ``Unique``), and
``DynamicQuantizeLinear`` and ``MeanVarianceNormalization``, which let the rows of a batch change each
other's scores. ``tests/runtime/format/test_operators.py`` runs every operator of the list.
"""

from __future__ import annotations

ALLOWED = frozenset(
    """
    Abs Add Sub Mul Div Neg Pow Sqrt Reciprocal Exp Log Erf Sign Mod Sum Mean Min Max Clip
    Floor Ceil Round Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh CumSum
    Relu LeakyRelu PRelu Elu Celu Selu ThresholdedRelu Sigmoid HardSigmoid HardSwish Tanh Softplus Softsign Mish
    Softmax LogSoftmax Hardmax
    Gemm MatMul Einsum Conv ConvTranspose RNN GRU LSTM
    BatchNormalization InstanceNormalization LayerNormalization LpNormalization LRN
    AveragePool MaxPool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool
    ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
    ReduceSumSquare ArgMax ArgMin TopK
    Cast CastLike Identity Constant ConstantOfShape EyeLike Range OneHot Trilu
    Shape Size Reshape Flatten Transpose Squeeze Unsqueeze Concat Split Slice Gather GatherElements GatherND
    ScatterElements ScatterND Expand Tile Pad Resize DepthToSpace SpaceToDepth Col2Im
    Equal Less Greater LessOrEqual GreaterOrEqual And Or Not Xor Where IsNaN IsInf
    QuantizeLinear DequantizeLinear QLinearConv QLinearMatMul ConvInteger MatMulInteger
    """.split()  # noqa: SIM905 (six screens as a list)
)

VARIADIC = 1 << 16


def _arity() -> dict[str, tuple[int, int, int]]:
    rows = {
        (0, 0, 1): "Constant",
        (1, 2, 1): """ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum
            ReduceLogSumExp ReduceSumSquare Squeeze Trilu""",
        (1, 1, 2): "MaxPool",
        (1, 2, VARIADIC): "Split",
        (1, 3, 1): "Clip",
        (1, 4, 1): "Resize",
        (1, VARIADIC, 1): "Concat Einsum Max Mean Min Sum",
        (2, 2, 1): """Add And CastLike CumSum Div Equal Expand Gather GatherElements GatherND Greater GreaterOrEqual
            Less LessOrEqual MatMul Mod Mul Or PRelu Pow Reshape Sub Tile Unsqueeze Xor""",
        (2, 2, 2): "TopK",
        (2, 3, 1): "Conv ConvTranspose DequantizeLinear Gemm QuantizeLinear",
        (2, 3, 3): "LayerNormalization",
        (2, 4, 1): "ConvInteger MatMulInteger Pad",
        (3, 3, 1): "InstanceNormalization OneHot Range ScatterElements ScatterND Where Col2Im",
        (3, 5, 1): "Slice",
        (3, 6, 2): "GRU RNN",
        (3, 8, 3): "LSTM",
        (5, 5, 3): "BatchNormalization",
        (8, 8, 1): "QLinearMatMul",
        (8, 9, 1): "QLinearConv",
    }
    return dict.fromkeys(ALLOWED, (1, 1, 1)) | {op: row for row, names in rows.items() for op in names.split()}


ARITY = _arity()
"""Of each operator: inputs that it needs, the most that it takes, and the most outputs.

Only the inputs between the first two may be left out.
"""
NO_GAPS = frozenset(("LayerNormalization", *(op for op, (_, most, _) in ARITY.items() if most == VARIADIC)))
"""No input of these may be without a name: onnxruntime 1.32 ends with a signal (Min and LayerNormalization)."""
