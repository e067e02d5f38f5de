"""What speaks for a model's answer, as pictures: rows of panels, sheets of them, single ones."""

from featmap.explained.sheets import ExplanationDrawer

__all__ = ['ExplanationDrawer']
