"""tinyattn run FILE: another name of tinyattn generate, which does the work."""

from tinyattn.cli.generate import options, run

__all__ = ["options", "run"]
