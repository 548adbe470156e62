"""`python -m regatta` is the same as `regatta`."""

import sys

from regatta.cli import main

if __name__ == "__main__":
    sys.exit(main())
