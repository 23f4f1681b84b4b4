"""The pages' own modules, found where the build finds them, and what these tests share."""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
sys.path[:0] = [str(DOCS), str(DOCS / "_static" / "live"), str(Path(__file__).parent)]
