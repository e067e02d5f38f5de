"""Models of the ``transformers`` library: their configs, modules, weights and image processors."""
