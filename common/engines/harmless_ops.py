"""TensorFlow's ops that a graph of another program may have: those that compute, and touch nothing else.

Left out is all that reads or writes files, talks to other machines or to a terminal, runs Python or a compiler's
programs, names a device's memory, keeps queues, tables or data sets, or takes texts. An op that is not here is refused,
whatever it does.
"""

ARRAYS = """
    Const HostConst Identity IdentityN StopGradient PreventGradient Snapshot DeepCopy GuaranteeConst EnsureShape Empty
    Placeholder PlaceholderV2 PlaceholderWithDefault NoOp ControlTrigger FakeParam
    Shape ShapeN Size Rank Reshape Squeeze ExpandDims Transpose ConjugateTranspose InvertPermutation
    Pack Unpack Concat ConcatV2 ConcatOffset ParallelConcat Split SplitV Slice StridedSlice StridedSliceGrad
    TensorStridedSliceUpdate Tile TileGrad BroadcastTo BroadcastArgs BroadcastGradientArgs Pad PadV2 MirrorPad
    MirrorPadGrad Fill ZerosLike OnesLike Range LinSpace OneHot Where Select SelectV2 Roll Reverse ReverseV2
    ReverseSequence Gather GatherV2 GatherNd ScatterNd TensorScatterUpdate TensorScatterAdd TensorScatterSub
    TensorScatterMax TensorScatterMin ScatterNdNonAliasingAdd InplaceUpdate InplaceAdd InplaceSub DynamicPartition
    DynamicStitch ParallelDynamicStitch Unique UniqueV2 UniqueWithCounts UniqueWithCountsV2 ListDiff UnravelIndex
    Diag DiagPart MatrixDiag MatrixDiagV2 MatrixDiagV3 MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3 MatrixSetDiag
    MatrixSetDiagV2 MatrixSetDiagV3 MatrixBandPart BatchMatrixDiag BatchMatrixDiagPart BatchMatrixSetDiag
    BatchMatrixBandPart SpaceToBatch SpaceToBatchND BatchToSpace BatchToSpaceND SpaceToDepth DepthToSpace Cast Bitcast
    ExtractImagePatches ExtractVolumePatches LowerBound UpperBound Bucketize SparseToDense DataFormatDimMap
    DataFormatVecPermute CheckNumerics CheckNumericsV2
"""
MATHEMATICS = """
    Abs Acos Acosh Add AddN AddV2 AccumulateNV2 All Angle Any ApproximateEqual ArgMax ArgMin Asin Asinh Atan Atan2 Atanh
    BatchMatMul BatchMatMulV2 BatchMatMulV3 BesselI0 BesselI0e BesselI1 BesselI1e Betainc Bincount DenseBincount
    BitwiseAnd BitwiseOr BitwiseXor Ceil ClipByValue Complex ComplexAbs Conj Cos Cosh Cross Cumprod Cumsum
    CumulativeLogsumexp Digamma Div DivNoNan Einsum Equal Erf Erfc Erfinv EuclideanNorm Exp Expm1 FFT FFT2D FFT3D Floor
    FloorDiv FloorMod Greater GreaterEqual HistogramFixedWidth IFFT IFFT2D IFFT3D IRFFT IRFFT2D IRFFT3D Igamma Igammac
    Imag Inv InvGrad Invert IsFinite IsInf IsNan LeftShift Less LessEqual Lgamma Log Log1p LogicalAnd LogicalNot
    LogicalOr MatMul MatrixDeterminant MatrixInverse MatrixSolve MatrixTriangularSolve Cholesky LogMatrixDeterminant Qr
    Svd SelfAdjointEigV2 Max Maximum Mean Min Minimum Mod Mul MulNoNan Ndtri Neg NextAfter NotEqual NthElement
    Polygamma PopulationCount Pow Prod RFFT RFFT2D RFFT3D Real RealDiv Reciprocal ReciprocalGrad RightShift Rint Round
    Rsqrt RsqrtGrad SegmentMax SegmentMean SegmentMin SegmentProd SegmentSum Sigmoid SigmoidGrad Sign Sin Sinh
    SparseMatMul Sqrt SqrtGrad Square SquaredDifference Sub Sum Tan Tanh TanhGrad TopK TopKV2 TruncateDiv TruncateMod
    UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum Xdivy Xlog1py Xlogy Zeta
    ApproxTopK InTopK InTopKV2 SparseTensorDenseMatMul SparseReshape SparseReorder SparseSegmentMean SparseSegmentSum
"""
NETWORKS = """
    AvgPool AvgPool3D AvgPoolGrad BatchNormWithGlobalNormalization BiasAdd BiasAddGrad BiasAddV1 BlockLSTM BlockLSTMV2
    Conv Conv2D Conv2DBackpropFilter Conv2DBackpropFilterV2 Conv2DBackpropInput Conv2DBackpropInputV2 Conv3D
    Conv3DBackpropInput Conv3DBackpropInputV2 DepthwiseConv2dNative DepthwiseConv2dNativeBackpropFilter
    DepthwiseConv2dNativeBackpropInput Dilation2D Elu EluGrad FractionalAvgPool FractionalMaxPool FusedBatchNorm
    FusedBatchNormV2 FusedBatchNormV3 FusedBatchNormGrad FusedBatchNormGradV2 FusedBatchNormGradV3 FusedPadConv2D
    FusedResizeAndPadConv2D GRUBlockCell L2Loss LRN LRNGrad LSTMBlockCell LeakyRelu LeakyReluGrad LogSoftmax MaxPool
    MaxPool3D MaxPoolGrad MaxPoolGradV2 MaxPoolGradWithArgmax MaxPoolV2 MaxPoolWithArgmax Relu Relu6 Relu6Grad ReluGrad
    Selu SeluGrad Softmax SoftmaxCrossEntropyWithLogits Softplus SoftplusGrad Softsign SoftsignGrad
    SparseSoftmaxCrossEntropyWithLogits
"""
PICTURES = """
    AdjustContrast AdjustContrastv2 AdjustHue AdjustSaturation CombinedNonMaxSuppression CropAndResize
    CropAndResizeGradBoxes CropAndResizeGradImage DrawBoundingBoxes DrawBoundingBoxesV2 ExtractGlimpse ExtractGlimpseV2
    GenerateBoundingBoxProposals HSVToRGB ImageProjectiveTransformV2 ImageProjectiveTransformV3 NonMaxSuppression
    NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5 NonMaxSuppressionWithOverlaps
    QuantizedResizeBilinear RGBToHSV ResizeArea ResizeBicubic ResizeBicubicGrad ResizeBilinear ResizeBilinearGrad
    ResizeNearestNeighbor ResizeNearestNeighborGrad SampleDistortedBoundingBox SampleDistortedBoundingBoxV2
    ScaleAndTranslate ScaleAndTranslateGrad StatelessSampleDistortedBoundingBox
"""
QUANTISATION = """
    Dequantize FakeQuantWithMinMaxArgs FakeQuantWithMinMaxArgsGradient FakeQuantWithMinMaxVars
    FakeQuantWithMinMaxVarsGradient FakeQuantWithMinMaxVarsPerChannel FakeQuantWithMinMaxVarsPerChannelGradient
    QuantizeAndDequantize QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4
    QuantizeDownAndShrinkRange QuantizeV2 QuantizedAdd QuantizedAvgPool QuantizedBatchNormWithGlobalNormalization
    QuantizedBiasAdd QuantizedConcat QuantizedConcatV2 QuantizedConv2D QuantizedConv2DAndRelu
    QuantizedConv2DAndReluAndRequantize QuantizedConv2DAndRequantize QuantizedConv2DPerChannel QuantizedConv2DWithBias
    QuantizedConv2DWithBiasAndRelu QuantizedConv2DWithBiasAndReluAndRequantize QuantizedConv2DWithBiasAndRequantize
    QuantizedConv2DWithBiasSumAndRelu QuantizedConv2DWithBiasSumAndReluAndRequantize QuantizedDepthwiseConv2D
    QuantizedDepthwiseConv2DWithBias QuantizedDepthwiseConv2DWithBiasAndRelu QuantizedInstanceNorm QuantizedMatMul
    QuantizedMatMulWithBias QuantizedMaxPool QuantizedMul QuantizedRelu QuantizedRelu6 QuantizedReluX QuantizedReshape
    Requantize RequantizePerChannel RequantizationRange RequantizationRangePerChannel UniformDequantize UniformQuantize
    UniformQuantizedAdd UniformQuantizedClipByValue UniformQuantizedConvolution UniformQuantizedConvolutionHybrid
    UniformQuantizedDot UniformQuantizedDotHybrid UniformRequantize
"""
# Assert takes texts, and shows them when it fails.
CONTROL = """
    Assert Switch RefSwitch Merge RefMerge Enter RefEnter Exit RefExit NextIteration RefNextIteration LoopCond
    If StatelessIf Case StatelessCase While StatelessWhile For PartitionedCall StatefulPartitionedCall
    TensorArrayV3 TensorArrayReadV3 TensorArrayWriteV3 TensorArrayGatherV3 TensorArrayScatterV3 TensorArrayConcatV3
    TensorArraySplitV3 TensorArraySizeV3 TensorArrayCloseV3 TensorArrayGradV3
    EmptyTensorList TensorListReserve TensorListFromTensor TensorListStack TensorListGetItem TensorListSetItem
    TensorListPushBack TensorListPushBackBatch TensorListPopBack TensorListLength TensorListElementShape
    TensorListConcat TensorListConcatV2 TensorListConcatLists TensorListGather TensorListScatter TensorListScatterV2
    TensorListScatterIntoExistingList TensorListSplit TensorListResize
"""
VARIABLES = """
    VarHandleOp Variable VariableV2 VarIsInitializedOp IsVariableInitialized ReadVariableOp VariableShape
    AssignVariableOp AssignAddVariableOp AssignSubVariableOp Assign AssignAdd AssignSub DisableCopyOnRead
    ResourceGather ResourceGatherNd RefIdentity
"""
RANDOM = """
    Multinomial ParameterizedTruncatedNormal RandomGamma RandomPoisson RandomPoissonV2 RandomShuffle
    RandomStandardNormal RandomUniform RandomUniformInt
    TruncatedNormal StatelessMultinomial StatelessRandomBinomial StatelessRandomGammaV2
    StatelessRandomGetAlg StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg StatelessRandomNormal
    StatelessRandomNormalV2 StatelessRandomPoisson StatelessRandomUniform StatelessRandomUniformFullInt
    StatelessRandomUniformFullIntV2 StatelessRandomUniformInt StatelessRandomUniformIntV2 StatelessRandomUniformV2
    StatelessShuffle StatelessTruncatedNormal StatelessTruncatedNormalV2
"""
KINDS = (ARRAYS, MATHEMATICS, NETWORKS, PICTURES, QUANTISATION, CONTROL, VARIABLES, RANDOM)
HARMLESS = frozenset(op for kind in KINDS for op in kind.split())
