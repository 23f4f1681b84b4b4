"""The options that a cache takes for its mechanism, by name, and which of them have one entry per token."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from tinyattn import definitions
from tinyattn.caches.checks import check_function
from tinyattn.ops.signature import WITH_RULES


class Names(NamedTuple):
    """The options that a cache takes (None: any), those that it needs, and those that it sets itself."""

    known: frozenset[str] | None
    needed: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()

    def setting(self, names: frozenset[str]) -> Names:
        """Returns the options of a method for which the cache sets these options too."""
        return Names(None if self.known is None else self.known - names, self.needed - names, self.own | names)


READING = Names(frozenset({"mask", "bias", "window", "scale", "softcap", "sinks", "score"}), own=frozenset({"causal"}))


def names_of(mechanism: Callable[..., Any], own: Mapping[str, Any] | frozenset[str]) -> Names:
    """Returns the options of a mechanism(q, k, v, **options), without those that the cache sets itself.

    Raises:
        TypeError: an object that cannot be called.
    """
    check_function("mechanism", mechanism, "q, k, v")
    own = frozenset(own)
    found = [*inspect.signature(mechanism).parameters.values()]
    if any(one.kind is one.VAR_KEYWORD for one in found):
        return Names(None, own=own)
    options = [one for one in found[3:] if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD) and one.name not in own]
    return Names(frozenset(one.name for one in options), frozenset(one.name for one in options if one.default is one.empty), own)


def check_sets(mechanism: Callable[..., Any], options: Iterable[str], made: str) -> None:
    """Raises TypeError unless a mechanism has the options that its cache sets in every call.

    >>> check_sets(definitions.linear_attention, ["initial_state", "return_state"], "a StateCache")
    >>> check_sets(definitions.attention, ["initial_state"], "a StateCache")
    Traceback (most recent call last):
        ...
    TypeError: mechanism: expected a function with the option initial_state, which a StateCache sets; attention has none
    """
    takes = inspect.signature(mechanism).parameters
    missing = [] if any(one.kind is one.VAR_KEYWORD for one in takes.values()) else [name for name in options if name not in takes]
    if missing:
        plural = "s" if len(missing) > 1 else ""
        raise TypeError(f"mechanism: expected a function with the option{plural} {' and '.join(missing)}, which {made} sets; "
                        f"{getattr(mechanism, '__name__', type(mechanism).__name__)} has none")


def check_options(method: str, options: Mapping[str, Any], names: Names) -> None:
    """Raises TypeError for an option that the cache does not take, that it sets itself, or that is missing."""
    for name in options:
        if name in names.own:
            raise TypeError(f"{method}: {name} is set by the cache itself, which reads causally behind the tokens that it holds; "
                            f"leave it out")
        if names.known is not None and name not in names.known:
            if name == "score":
                raise TypeError(f"{method}: unexpected option 'score'; {WITH_RULES}")
            near = get_close_matches(name, names.known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"this cache takes {', '.join(sorted(names.known)) or 'none'}"
            raise TypeError(f"{method}: unexpected option {name!r}; {hint}")
    if names.needed and (missing := names.needed - options.keys()):
        raise TypeError(f"{method}: {', '.join(sorted(missing))}: missing; the cache's mechanism needs "
                        f"{'it' if len(missing) == 1 else 'them'} with every call")


def declared(mechanism: Any) -> Mapping[str, str] | None:
    """Returns the options with one entry per token that a mechanism declares in `@shapes`, with their core axes.

    None if it declares nothing, as a function of the caller's own. A `functools.partial` declares what its function does.

    >>> declared(definitions.delta_rule_chunked), declared(lambda q, k, v: v)
    ({'beta': '(j)'}, None)
    """
    found: Mapping[str, str] | None = getattr(getattr(mechanism, "func", mechanism), "per_token", None)
    return found


def waiting_of(mechanism: Any) -> Mapping[str, float] | None:
    """Returns the gates, other than 0, of a token that reads a mechanism's state as the last token did; None if no token can.

    >>> waiting_of(definitions.delta_rule), waiting_of(definitions.rwkv6)
    ({}, None)
    """
    found: Mapping[str, float] | None = getattr(getattr(mechanism, "func", mechanism), "waiting", {})
    return None if found is None else dict(found)


def gates_of(mechanism: Any) -> frozenset[str]:
    """Returns the names of the options that a recurrent mechanism may read in addition to the key of each token.

    These are the names that the mechanism itself or any definition declares.

    >>> gates_of(definitions.linear_attention_chunked) >= {"beta", "log_decay"}
    True
    """
    found = [declared(mechanism), *(declared(getattr(definitions, name)) for name in definitions.__all__)]
    return frozenset(name for options in found for name, core in (options or {}).items() if core.startswith("(j"))
