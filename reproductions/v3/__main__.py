"""`python -m reproductions.v3 train | evaluate | predict | export | describe | reproduce`."""

import sys

from common.cli import main
from reproductions.v3 import REPRODUCTION

if __name__ == "__main__":
    sys.exit(main(REPRODUCTION))
