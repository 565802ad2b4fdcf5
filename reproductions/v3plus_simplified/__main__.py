"""`python -m reproductions.v3plus_simplified train | evaluate | predict | export | describe | reproduce`."""

import sys

from common.cli import main
from reproductions.v3plus_simplified import REPRODUCTION

if __name__ == "__main__":
    sys.exit(main(REPRODUCTION))
