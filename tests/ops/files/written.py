"""The bytes of GGUF files, written field by field, so that each field can be wrong."""

import struct


def text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(raw)) + raw


def entry(key, kind, value):
    """An entry of the metadata; value are its bytes."""
    return text(key) + struct.pack("<I", kind) + value


def tensor(name, shape, kind=0, start=0):
    return text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, start)


def gguf(entries=(), tensors=(), data=b"", *, magic=b"GGUF", version=3, counts=None, alignment=32):
    """A file; `counts` replaces the counts of tensors and entries."""
    tensor_count, entry_count = counts or (len(tensors), len(entries))
    header = magic + struct.pack("<IQQ", version, tensor_count, entry_count) + b"".join(entries) + b"".join(tensors)
    return header + b"\0" * (-len(header) % alignment) + data
