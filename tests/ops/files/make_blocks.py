"""Writes blocks.gguf and blocks.npz: one tensor per format, and what the package gguf reads from it.

    pip install gguf
    python tests/ops/files/make_blocks.py
"""

from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
NAMES = ["F32", "F16", "BF16", "F64", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]
# Where the float16 factors of a block stand.
FACTORS = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def main():
    import gguf

    rng = np.random.default_rng(0)
    writer, expected = gguf.GGUFWriter(HERE / "blocks.gguf", "none"), {}
    writer.add_string("a.text", "ünïcode")
    writer.add_uint8("a.uint8", 255)
    writer.add_int64("a.int64", -(1 << 40))
    writer.add_float32("a.float32", 0.5)
    writer.add_float64("a.float64", 0.1)
    writer.add_bool("a.bool", True)
    writer.add_array("a.texts", ["", "b", "cc"])
    writer.add_array("a.ints", [1, -2, 3])
    writer.add_array("a.floats", [0.5, 0.25])
    for name in NAMES:
        kind = gguf.GGMLQuantizationType[name]
        weights, size = gguf.GGML_QUANT_SIZES[kind]
        if name in FACTORS:
            raw = rng.integers(0, 256, (3, 256 // weights, size), np.uint8)
            for at in FACTORS[name]:
                raw[..., at : at + 2] = rng.standard_normal(raw.shape[:2]).astype("<f2")[..., None].view(np.uint8)
            raw = raw.reshape(3, -1)
        elif name == "BF16":
            raw = rng.standard_normal((3, 5)).astype("<f4").view("<u2")[:, 1::2].copy().view(np.uint8)
        else:
            raw = rng.standard_normal((3, 5)).astype(f"<f{size}")
        writer.add_tensor(name, raw, raw_dtype=kind)
        expected[name] = raw if name in ("F32", "F64") else gguf.dequantize(raw.view(np.uint8), kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    np.savez(HERE / "blocks.npz", **expected)


if __name__ == "__main__":
    main()
