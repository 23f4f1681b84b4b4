"""NumPy functions that refuse a Tensor, by the reason for it."""

import numpy as np

from tinyattn.engine.table import refused

REASONS = {
    "integers, bits or dates, not floating numbers": (
        np, "bitwise_and bitwise_or bitwise_xor bitwise_count invert left_shift right_shift gcd lcm packbits unpackbits "
            "bincount choose busday_count busday_offset is_busday isnat datetime_as_string ravel_multi_index "
            "unravel_index diag_indices_from tril_indices_from triu_indices_from ix_ einsum_path ldexp frexp"),
    "its counts are integers; with weights it has no rule": (np, "histogram"),
    "a set: a gradient cannot be brought back to the elements that its members came from": (
        np, "unique unique_all unique_counts unique_inverse unique_values union1d intersect1d setdiff1d setxor1d "
            "histogram2d histogramdd"),
    "complex numbers have no place on a Tensor": (np, "angle imag sort_complex roots"),
    "an order statistic without a rule; sort and index": (
        np, "nanmedian percentile nanpercentile quantile nanquantile partition"),
    "it has no rule; mask with np.where and use the function without nan": (
        np, "nanmax nanmin nanprod nancumsum nancumprod nanvar nanstd"),
    "it has no rule; write it with functions that have one": (
        np, "apply_along_axis apply_over_axes block correlate corrcoef cov diagflat divmod ediff1d geomspace gradient i0 "
            "insert logspace modf piecewise poly polyadd polyder polydiv polyfit polyint polymul polysub polyval "
            "trapezoid trim_zeros unwrap vander"),
    "it writes a file; save .value": (np, "save savez savez_compressed savetxt"),
    "a decomposition without a rule; use solve, inv or det": (
        np.linalg, "cond eig eigh eigvals eigvalsh lstsq matrix_norm matrix_power matrix_rank multi_dot "
                   "pinv qr svd svdvals tensorinv tensorsolve"),
}
for _reason, (_module, _names) in REASONS.items():
    refused(_reason, *(getattr(_module, name) for name in _names.split() if hasattr(_module, name)))
