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
