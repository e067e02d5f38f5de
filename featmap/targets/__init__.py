"""Targets: the scalar of a forward that is explained. :mod:`featmap.targets.every` registers those of featmap."""
