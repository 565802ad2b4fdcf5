"""Caffe's protobuf messages, as a table turned into descriptors when this module is imported.

Field names and numbers are those of BVLC/caffe `src/caffe/proto/caffe.proto`, with the fields of the DeepLab forks
(deeplab-public: `hole`, `padding_param`; deeplab-public-ver2: `interp_param`), SSD (`norm_param`, `permute_param`) and
of forks that pool as Torch does (`ceil_mode`).
The forks gave one number to several fields (143 is `input_param` in BVLC and `interp_param` in deeplab-public-ver2; 17
in ConvolutionParameter is `force_nd_im2col` or `hole`), so a fork's field that collides stands here at 1000 + its
number. That is safe because numbers only matter in binary files, and of those only layer names and blobs are read, by
the `Weights` messages below, whose numbers no fork changed. Text is read by name.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# name=number:type, `*` repeated, `[]` repeated and packed, and the default where it is not zero.
_MESSAGES = {
    "BlobShape": "dim=1:int64[]",
    "BlobProto": """num=1:int32 channels=2:int32 height=3:int32 width=4:int32 data=5:float[] diff=6:float[]
        shape=7:BlobShape double_data=8:double[] double_diff=9:double[]""",
    "NetParameter": """name=1:string layers=2:V1LayerParameter* input=3:string* input_dim=4:int32*
        input_shape=8:BlobShape* force_backward=5:bool state=6:NetState debug_info=7:bool layer=100:LayerParameter*""",
    "NetState": "phase=1:Phase=TEST level=2:int32 stage=3:string*",
    "NetStateRule": "phase=1:Phase min_level=2:int32 max_level=3:int32 stage=4:string* not_stage=5:string*",
    "ParamSpec": "name=1:string share_mode=2:DimCheckMode lr_mult=3:float=1 decay_mult=4:float=1",
    "LayerParameter": """name=1:string type=2:string bottom=3:string* top=4:string* loss_weight=5:float*
        param=6:ParamSpec* blobs=7:BlobProto* include=8:NetStateRule* exclude=9:NetStateRule* phase=10:Phase
        propagate_down=11:bool* transform_param=100:TransformationParameter argmax_param=103:ArgMaxParameter
        concat_param=104:ConcatParameter convolution_param=106:ConvolutionParameter data_param=107:DataParameter
        dropout_param=108:DropoutParameter dummy_data_param=109:DummyDataParameter eltwise_param=110:EltwiseParameter
        image_data_param=115:ImageDataParameter inner_product_param=117:InnerProductParameter lrn_param=118:LRNParameter
        memory_data_param=119:MemoryDataParameter pooling_param=121:PoolingParameter power_param=122:PowerParameter
        relu_param=123:ReLUParameter sigmoid_param=124:EngineParameter softmax_param=125:SoftmaxParameter
        slice_param=126:SliceParameter tanh_param=127:EngineParameter prelu_param=131:PReLUParameter
        reshape_param=133:ReshapeParameter flatten_param=135:FlattenParameter batch_norm_param=139:BatchNormParameter
        bias_param=141:BiasParameter scale_param=142:ScaleParameter input_param=143:InputParameter
        crop_param=144:CropParameter permute_param=202:PermuteParameter norm_param=206:NormalizeParameter
        interp_param=1143:InterpParameter padding_param=1045:PaddingParameter""",
    # `type` is an enumeration in the original. Two forks number their types differently, so it is read as a word.
    "V1LayerParameter": """bottom=2:string* top=3:string* name=4:string type=1005:string blobs=6:BlobProto*
        blobs_lr=7:float* weight_decay=8:float* concat_param=9:ConcatParameter convolution_param=10:ConvolutionParameter
        data_param=11:DataParameter dropout_param=12:DropoutParameter image_data_param=15:ImageDataParameter
        inner_product_param=17:InnerProductParameter lrn_param=18:LRNParameter pooling_param=19:PoolingParameter
        power_param=21:PowerParameter memory_data_param=22:MemoryDataParameter argmax_param=23:ArgMaxParameter
        eltwise_param=24:EltwiseParameter dummy_data_param=26:DummyDataParameter relu_param=30:ReLUParameter
        slice_param=31:SliceParameter include=32:NetStateRule* exclude=33:NetStateRule* loss_weight=35:float*
        transform_param=36:TransformationParameter tanh_param=37:EngineParameter sigmoid_param=38:EngineParameter
        softmax_param=39:SoftmaxParameter interp_param=43:InterpParameter padding_param=45:PaddingParameter
        param=1001:string* blob_share_mode=1002:DimCheckMode*""",
    "ArgMaxParameter": "out_max_val=1:bool top_k=2:uint32=1 axis=3:int32",
    "BatchNormParameter": "use_global_stats=1:bool moving_average_fraction=2:float=0.999 eps=3:float=1e-5",
    "BiasParameter": "axis=1:int32=1 num_axes=2:int32=1 filler=3:FillerParameter",
    "ConcatParameter": "concat_dim=1:uint32=1 axis=2:int32=1",
    "ConvolutionParameter": """num_output=1:uint32 bias_term=2:bool=true pad=3:uint32* kernel_size=4:uint32*
        group=5:uint32=1 stride=6:uint32* weight_filler=7:FillerParameter bias_filler=8:FillerParameter pad_h=9:uint32
        pad_w=10:uint32 kernel_h=11:uint32 kernel_w=12:uint32 stride_h=13:uint32 stride_w=14:uint32 engine=15:Engine
        axis=16:int32=1 force_nd_im2col=17:bool dilation=18:uint32* hole=1017:uint32* hole_h=1018:uint32
        hole_w=1019:uint32""",
    "CropParameter": "axis=1:int32=2 offset=2:uint32*",
    "DataParameter": """source=1:string scale=2:float=1 mean_file=3:string batch_size=4:uint32 crop_size=5:uint32
        mirror=6:bool rand_skip=7:uint32 backend=8:DB force_encoded_color=9:bool prefetch=10:uint32=4""",
    "DropoutParameter": "dropout_ratio=1:float=0.5",
    "DummyDataParameter": """data_filler=1:FillerParameter* num=2:uint32* channels=3:uint32* height=4:uint32*
        width=5:uint32* shape=6:BlobShape*""",
    "EltwiseParameter": "operation=1:EltwiseOp=SUM coeff=2:float* stable_prod_grad=3:bool=true",
    "EngineParameter": "engine=1:Engine",
    "FillerParameter": """type=1:string=constant value=2:float min=3:float max=4:float=1 mean=5:float std=6:float=1
        sparse=7:int32=-1 variance_norm=8:VarianceNorm""",
    "FlattenParameter": "axis=1:int32=1 end_axis=2:int32=-1",
    "ImageDataParameter": """source=1:string scale=2:float=1 mean_file=3:string batch_size=4:uint32=1 crop_size=5:uint32
        mirror=6:bool rand_skip=7:uint32 shuffle=8:bool new_height=9:uint32 new_width=10:uint32 is_color=11:bool=true
        root_folder=12:string ignore_label=15:int32=255 label_type=16:LabelType=IMAGE""",
    "InnerProductParameter": """num_output=1:uint32 bias_term=2:bool=true weight_filler=3:FillerParameter
        bias_filler=4:FillerParameter axis=5:int32=1 transpose=6:bool""",
    "InputParameter": "shape=1:BlobShape*",
    "InterpParameter": """height=1:int32 width=2:int32 zoom_factor=3:int32=1 shrink_factor=4:int32=1 pad_beg=5:int32
        pad_end=6:int32""",
    "LRNParameter": """local_size=1:uint32=5 alpha=2:float=1 beta=3:float=0.75 norm_region=4:NormRegion k=5:float=1
        engine=6:Engine""",
    "MemoryDataParameter": "batch_size=1:uint32 channels=2:uint32 height=3:uint32 width=4:uint32",
    "NormalizeParameter": """across_spatial=1:bool=true scale_filler=2:FillerParameter channel_shared=3:bool=true
        eps=4:float=1e-10""",
    "PReLUParameter": "filler=1:FillerParameter channel_shared=2:bool",
    "PaddingParameter": "pad_beg=1:int32 pad_end=2:int32",
    "PermuteParameter": "order=1:uint32*",
    "PoolingParameter": """pool=1:PoolMethod kernel_size=2:uint32 stride=3:uint32=1 pad=4:uint32 kernel_h=5:uint32
        kernel_w=6:uint32 stride_h=7:uint32 stride_w=8:uint32 pad_h=9:uint32 pad_w=10:uint32 engine=11:Engine
        global_pooling=12:bool round_mode=13:RoundMode ceil_mode=1013:bool=true""",
    "PowerParameter": "power=1:float=1 scale=2:float=1 shift=3:float",
    "ReLUParameter": "negative_slope=1:float engine=2:Engine",
    "ReshapeParameter": "shape=1:BlobShape axis=2:int32 num_axes=3:int32=-1",
    "ScaleParameter": """axis=1:int32=1 num_axes=2:int32=1 filler=3:FillerParameter bias_term=4:bool
        bias_filler=5:FillerParameter""",
    "SliceParameter": "slice_dim=1:uint32=1 slice_point=2:uint32* axis=3:int32=1",
    "SoftmaxParameter": "engine=1:Engine axis=2:int32=1",
    "TransformationParameter": """scale=1:float=1 mirror=2:bool crop_size=3:uint32 mean_file=4:string
        mean_value=5:float* force_color=6:bool force_gray=7:bool scale_factors=8:float* crop_width=9:uint32
        crop_height=10:uint32""",
    # What is read of a binary file. Packed floats and a byte string look the same on the wire, so `data` comes as the
    # bytes themselves and no float ever becomes a Python object; a file with unpacked floats is parsed as BlobProto.
    "Weights": "layers=2:V1LayerWeights* layer=100:LayerWeights*",
    "LayerWeights": "name=1:bytes blobs=7:BlobWeights*",
    "V1LayerWeights": "name=4:bytes blobs=6:BlobWeights*",
    "BlobWeights": """num=1:int32 channels=2:int32 height=3:int32 width=4:int32 data=5:bytes* shape=7:BlobShape
        double_data=8:bytes*""",
}  # fmt: skip

# An enumeration's values in the order of their numbers, from 0.
_ENUMS = {
    "DB": "LEVELDB LMDB",
    "DimCheckMode": "STRICT PERMISSIVE",
    "EltwiseOp": "PROD SUM MAX",
    "Engine": "DEFAULT CAFFE CUDNN",
    "LabelType": "NONE IMAGE PIXEL",
    "NormRegion": "ACROSS_CHANNELS WITHIN_CHANNEL",
    "Phase": "TRAIN TEST",
    "PoolMethod": "MAX AVE STOCHASTIC",
    "RoundMode": "CEIL FLOOR",
    "VarianceNorm": "FAN_IN FAN_OUT AVERAGE",
}

_Field = descriptor_pb2.FieldDescriptorProto


def _field(word: str) -> descriptor_pb2.FieldDescriptorProto:
    name, _, rest = word.partition("=")
    number, _, rest = rest.partition(":")
    kind, _, default = rest.partition("=")
    bare = kind.rstrip("[]*")
    field = _Field(
        name=name, number=int(number), label=_Field.LABEL_OPTIONAL if bare == kind else _Field.LABEL_REPEATED
    )
    if bare in _MESSAGES:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".caffe.{bare}"
    elif bare in _ENUMS:
        field.type, field.type_name = _Field.TYPE_ENUM, f".caffe.{bare}Enum.{bare}"
    else:
        field.type = _Field.Type.Value(f"TYPE_{bare.upper()}")
    if default:
        field.default_value = default
    if kind.endswith("[]"):
        field.options.packed = True
    return field


def _build() -> dict[str, type]:
    file = descriptor_pb2.FileDescriptorProto(name="converters/caffe.proto", package="caffe", syntax="proto2")
    for name, fields in _MESSAGES.items():
        file.message_type.add(name=name, field=[_field(word) for word in fields.split()])
    for name, values in _ENUMS.items():  # each within a message of its own: MAX is a value of two of them
        enum = file.message_type.add(name=f"{name}Enum").enum_type.add(name=name)
        for number, value in enumerate(values.split()):
            enum.value.add(name=value, number=number)
    pool = descriptor_pool.DescriptorPool()  # not the default one, where another program's caffe.proto may be
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}")) for name in _MESSAGES}


_classes = _build()
BlobProto = _classes["BlobProto"]
NetParameter = _classes["NetParameter"]
Weights = _classes["Weights"]

# What V1's enumeration of layer types is called in V2, where it is not the words in camel case: IMAGE_SEG_DATA is
# ImageSegData.
_V1_TYPES = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "MVN": "MVN",
    "PRELU": "PReLU",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}


def v2_type(v1_type: str) -> str:
    """The V2 name of a V1 layer type: CONVOLUTION gives Convolution."""
    return _V1_TYPES.get(v1_type) or "".join(word.capitalize() for word in v1_type.split("_"))
