"""Every preset is the dialect of the installed library: the kernel conforms in it, and differs without it where it should."""

import importlib.util
import warnings

import pytest

from tests.peers.kernels import OWN_DIALECT
from tinyattn.testing import conform

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("default")]
MODULE = {"fla-core": "fla"}
DIFFERS = {"torch": "causal", "jax": "layout", "onnx": "causal", "mlx": "empty", "transformers": "layout", "fla": "layout"}


@pytest.mark.parametrize(("name", "make", "arrays", "preset", "packages"), OWN_DIALECT, ids=[peer[0] for peer in OWN_DIALECT])
def test_a_library_conforms_in_its_preset(name, make, arrays, preset, packages):
    missing = [package for package in packages if importlib.util.find_spec(MODULE.get(package, package)) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = conform(make(), arrays=arrays, dialect=preset, seconds=300, gradients=False)
        bare = conform(make(), arrays=arrays, seconds=300, gradients=False)
    assert report.verdict == "CONFORMS", str(report)
    if DIFFERS[preset] in bare.tested and name != "transformers, eager":
        assert DIFFERS[preset] in {finding.question for finding in bare.findings if finding.verdict == "DIFFERS"}
