"""Models by their names, and weights by theirs."""

from . import classifiers, detection, quantization, segmentation

BUILDERS = {
    builder.__name__: builder
    for builder in (
        classifiers.tiny_net, detection.tiny.tiny_rcnn, segmentation.tiny_fcn, quantization.quantized_tiny_net,
    )
}  # fmt: skip


def list_models():
    return sorted(BUILDERS)


def get_model_builder(name):
    return BUILDERS[name.lower()]


def get_model_weights(builder):
    return builder.weights
