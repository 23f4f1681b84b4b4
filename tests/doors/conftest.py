"""The child process and its tables are no tests: they are run by `test_doors.py`."""

collect_ignore_glob = ["child.py", "damage.py", "door.py", "samples_*.py"]
