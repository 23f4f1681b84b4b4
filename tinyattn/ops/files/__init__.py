"""Files: written whole or not at all, read without trusting them.

Its files, in reading order:

    atomic.py               a file that takes its place when it is complete
    header.py               a safetensors header, checked before it is believed
    encode.py               what may be written as safetensors, and its bytes
    safetensors.py          arrays by name in one file
"""
