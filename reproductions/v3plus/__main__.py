"""`python -m reproductions.v3plus train | evaluate | predict | export | describe | reproduce`."""

import sys

from common.cli import main
from reproductions.v3plus import REPRODUCTION

if __name__ == "__main__":
    sys.exit(main(REPRODUCTION))
