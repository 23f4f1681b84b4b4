"""`python -m tinyattn` is the command `tinyattn`."""

import sys

from tinyattn.cli import main

if __name__ == "__main__":  # processes that are begun for a part of the work import this file
    sys.exit(main())
