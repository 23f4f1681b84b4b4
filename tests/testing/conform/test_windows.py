"""Windows that a kernel takes in part: none to the right, and no effect without causal."""

from tinyattn.definitions import attention
from tinyattn.testing import conform


def with_causal_alone(q, k, v, *, causal=False, window=None):
    if window is not None and window[1]:
        raise NotImplementedError("a window looks back")
    return attention(q, k, v, causal=causal, window=window if causal else None)


def test_a_window_to_the_left_that_needs_causal_is_a_dialect():
    report = conform(with_causal_alone, gradients=False)
    assert [(finding.verdict, finding.question) for finding in report.findings] == [("DIFFERS", "window")]
    assert report.dialect["window"] == "needs-causal"
    assert "looks back" in dict(report.untested)["window with keys to the right"]


def test_a_window_without_effect_is_ignored_with_causal_too():
    report = conform(lambda q, k, v, *, causal=False, window=None: attention(q, k, v, causal=causal), gradients=False)
    assert [(finding.verdict, finding.question) for finding in report.findings] == [("IGNORES", "window")]


def test_a_window_that_is_declared_must_take_both_sides():
    report = conform(with_causal_alone, gradients=False, supports={"causal", "window"})
    assert ("REFUSES", "window") in [(finding.verdict, finding.question) for finding in report.findings]
