"""Models that OpenMMLab's packages build from a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featmap.models.checkpoint import is_none
from featmap.models.openmmlab.config import load_config
from featmap.models.openmmlab.detector import Detector
from featmap.models.source import ModelSource, Request
from featmap.options import Run
from featmap.registry import MODEL_SOURCES


@MODEL_SOURCES.register_module('openmmlab')
class OpenMMLabSource(ModelSource):
    """A config, by its path, scoped name or bare name, or as an object."""

    kind = 'a model that is built from a config of OpenMMLab'

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        assert request.config is not None
        self.config = load_config(request.config, request.overrides)

    @property
    def options(self) -> Mapping[str, Any]:
        """The config's ``featmap`` dict."""
        return self.config.get('featmap', {})

    def open(self, run: Run) -> Detector:
        """The detector of the config; see :class:`featmap.models.openmmlab.detector.Detector`."""
        checkpoint = self.request.checkpoint
        return Detector(
            self.config,
            None if is_none(checkpoint) else checkpoint,
            device=run.model.device,
            score_thr=run.what.score_thr,
            trust_checkpoint=run.model.trust_checkpoint,
            amp=run.model.amp,
            model=self.request.module,
        )
