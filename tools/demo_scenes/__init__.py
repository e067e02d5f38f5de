"""Procedurally drawn scenes: what the demo detector is trained, tested and shown on."""

from .scene import CLASSES, PALETTE, Placement, compose, draw_scene

__all__ = ['CLASSES', 'PALETTE', 'Placement', 'compose', 'draw_scene']
