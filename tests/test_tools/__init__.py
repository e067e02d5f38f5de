"""The tools are scripts next to one another: put their folder on the path, as running one does."""

import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
if str(TOOLS) not in sys.path:
    sys.path.insert(0, str(TOOLS))
