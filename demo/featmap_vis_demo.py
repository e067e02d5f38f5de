#!/usr/bin/env python3
"""Draw what a model's layers respond to: ``python demo/featmap_vis_demo.py IMG CONFIG CHECKPOINT [options]``."""

import sys
from pathlib import Path

try:
    from featmap.cli import main
except ModuleNotFoundError as error:
    if error.name != 'featmap':
        raise
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from featmap.cli import main

if __name__ == '__main__':
    sys.exit(main(prog='featmap_vis_demo.py'))
