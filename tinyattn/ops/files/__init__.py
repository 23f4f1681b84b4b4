"""Files: a file is written completely or not at all, and nothing in a file that is read is trusted.

Its files, in reading order:

    atomic.py               replacing a file in one step, once the new one is complete
    header.py               the header of a safetensors file, checked
    encode.py               the arguments and bytes of a safetensors file that is written
    safetensors.py          saving and loading arrays by name
"""
