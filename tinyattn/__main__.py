"""`python -m tinyattn` is the command `tinyattn`."""

import sys

from tinyattn.cli import main

sys.exit(main())
