"""KeyboardInterrupt at a chosen line of the library's own files, for tests of what an interrupt leaves behind."""

import sys
from contextlib import contextmanager


@contextmanager
def interrupted(nth, folders):
    """Raises KeyboardInterrupt at the nth line that runs in files whose path holds one of the folders."""
    lines = 0

    def trace(frame, event, _):
        nonlocal lines
        if not any(folder in frame.f_code.co_filename for folder in folders):
            return None
        if event == "line":
            lines += 1
            if lines == nth:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
