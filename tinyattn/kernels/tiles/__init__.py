"""What every kernel stands on: registers, products of tiles, arrays and masks as kernels read them, threads.

Its files, in reading order:

    libraries.py            what Numba optimises, and when
    jit.py                  compiles a function when it is first called and keeps the result on disk
    lanes.py                the registers of this machine; exp and tanh on them
    product.py              the product of two tiles
    flush.py                numbers too small to be normal
    vector.py               softmax on a tile, one register at a time
    small.py                the product of two matrices that fit the first cache
    above.py                which scores are above their bounds, one register at a time
    online.py               a step of an online softmax
    hidden.py               what is not seen, hidden in a row of a tile
    dots.py                 inner products, for few queries
    blocks.py               weights as files store them, as registers
    jobs.py                 tasks of other threads, and the threads
    threads.py              runs tasks over threads
    pages.py                large arrays on pages that earlier ones gave back
    blas.py                 tasks over threads that multiply by NumPy
    storage.py              arrays as kernels read them
    once.py                 primitives with a first derivative only
    listed.py               the visible tiles of a pattern
    rows.py                 rows turned, merged and put in place around a kernel
    seen.py                 masks as kernels read them
"""

import tinyattn.kernels.tiles.jit  # noqa: F401  it says what to install where Numba is absent, before another file asks for llvmlite
