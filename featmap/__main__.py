"""``python -m featmap``: the command, for an environment whose scripts are not on the path."""

import sys

from featmap.cli import main

if __name__ == '__main__':
    sys.exit(main(prog='python -m featmap'))
