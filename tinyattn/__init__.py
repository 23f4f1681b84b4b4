"""Every attention mechanism: a definition to read, a kernel to run, laws that tie the two."""
__version__ = "0.1.0"
