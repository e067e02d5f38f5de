"""Models of transformers: ``hf:path/to/folder``, ``hf:facebook/dinov2-base``, ``hf:vit``."""

from __future__ import annotations

from featmap.errors import ConfigError
from featmap.models.checkpoint import Checkpoint, is_word
from featmap.models.device import pick_device
from featmap.models.huggingface.configs import Place, find_place, read_config
from featmap.models.huggingface.modules import IMAGES, build, class_of, quiet
from featmap.models.huggingface.network import TransformersNetwork, reader_of
from featmap.models.huggingface.processors import preprocessing_by_processor
from featmap.models.huggingface.weights import weights_in
from featmap.models.libraries import PRETRAINED, import_library
from featmap.models.overrides import as_dict
from featmap.models.reading import DECLARING, weights_of
from featmap.models.source import ModelSource
from featmap.options import Run
from featmap.registry import MODEL_SOURCES


@MODEL_SOURCES.register_module('hf')
class TransformersSource(ModelSource):
    """A vision model with a config of transformers, with the head that the config names.

    It lies in a folder as ``save_pretrained`` writes it, or on the Hugging Face Hub; or it is a type of model alone,
    such as ``vit``, with the type's default config. The checkpoint is the word ``pretrained``, for the weights that lie
    with the config, a file, or ``none``. ``model_args`` replace values of the config.
    """

    kind = 'a model of transformers'
    takes = frozenset({'model_args', *DECLARING})

    def open(self, run: Run) -> TransformersNetwork:
        """Build the model, load its weights, and find its image processor.

        Raises:
            FeatMapError: transformers is not installed, there is no such model, it cannot be fetched or built, or would
                run code; or what :class:`featmap.models.network.Network` raises.
        """
        transformers = import_library('transformers', f"the model 'hf:{self.request.name}'")
        own = is_word(self.request.checkpoint, PRETRAINED)
        trust = run.model.trust_checkpoint
        with quiet(transformers):
            place = find_place(transformers, self.request.name, own, trust)
            arguments = as_dict(run.model.model_args, 'model_args', 'hidden_size=32')
            config = read_config(transformers, place, arguments, trust)
            found = class_of(transformers, config, place, trust)
            weights = _own_weights(place, trust) if own else weights_of(run, self.request)
            model, weights = build(found, weights, place.name)
            preprocessing = preprocessing_by_processor(transformers, run, model, config, place)
        return TransformersNetwork(
            model,
            preprocessing,
            reader_of(run, model, found),
            device=pick_device(run.model.device),
            checkpoint=weights,
            random_weights=weights is None,
            name=place.name,
            amp=run.model.amp,
            argument=IMAGES,
        )


def _own_weights(place: Place, trust: bool) -> Checkpoint:
    if place.folder is None:
        raise ConfigError(
            f"'{place.name}' is a type of model, of which there are no weights: give a folder or a name on the Hugging "
            'Face Hub, a checkpoint file, or none'
        )
    return weights_in(place.folder, trust)
