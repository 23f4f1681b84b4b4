"""Files: a file is written completely or not at all, and nothing in a file that is read is trusted.

Its files, in reading order:

    atomic.py               replacing a file in one step, once the new one is complete
    header.py               the header of a safetensors file, checked
    encode.py               the arguments and bytes of a safetensors file that is written
    blocks.py               block formats of GGUF: 32 weights share a scale
    blocks_k.py             the larger block formats: scales that are quantised too
    stored.py               a tensor that stays in its file, widened in tiles
    safetensors.py          saving and loading arrays by name
    shards.py               a folder of safetensors files with their index
    gguf_values.py          the values in the header of a GGUF file, checked
    gguf.py                 GGUF files: metadata and tensors
"""
