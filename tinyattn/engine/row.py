"""A row of the rule table at work: the value by NumPy, the way back by the row's makers or its body."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyattn.engine.arguments import array_like, kept, refilled, tensor_kind, tensors_in
from tinyattn.engine.call import SCALARS, Call
from tinyattn.engine.dtypes import floating
from tinyattn.engine.graph import CONSTANT, PLAIN, mode
from tinyattn.engine.record import Pullback, record, record_outputs, value_at, value_of
from tinyattn.engine.through import pull_through

# A Tensor of a call: the place or name of its argument, its number if that argument is one of many, its node.
Found = tuple[int | str, Any, Any]


class Derivation:
    """A maker or a body, called with those arguments of a call that it has parameters for."""

    def __init__(self, function: Callable[..., Any], call: Call, *, widens: bool) -> None:
        parameters = inspect.signature(function).parameters
        every = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        self.function, self.widens = function, widens
        self.names = frozenset([*call.defaults, *parameters] if every else parameters)
        self.places = [(i, name) for i, name in enumerate(call.names) if name in self.names]
        self.first_rest = len(call.names) if call.rest in self.names else None
        self.wants_result = "result" in parameters

    def wanted(self, args: Sequence[Any], options: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Returns copies of the arguments that the function takes, by position and by name."""
        count, widen = len(args), self.widens
        named = {name: a if type(a := args[i]) in SCALARS else kept(a, widen=widen) for i, name in self.places if i < count}
        for name, a in options.items():
            if name in self.names:
                named[name] = kept(a, widen=widen)
        rest = [] if self.first_rest is None else [kept(a, widen=widen) for a in args[self.first_rest :]]
        return rest, named

    def pull(self, args: Sequence[Any], options: dict[str, Any], result: Any) -> Callable[..., Any]:
        """Returns the pullback that a maker makes for one call."""
        rest, named = self.wanted(args, options)
        if self.wants_result:
            named["result"] = result
        return self.function(*rest, **named)


class Row:
    """What happens when a function that has a gradient is called with a Tensor: `row(args, options)`."""

    def __init__(self, function: Any, call: Call, makers: dict[str, Derivation | None], body: Derivation | None,
                 *, only: str) -> None:
        self.function, self.call, self.body, self.only = function, call, body, only
        self.rest = makers.get(call.rest)
        self.makers: dict[Any, Derivation | None] = {**makers, **{i: makers.get(name) for i, name in enumerate(call.names)}}

    def __call__(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        function, call = self.function, self.call
        if self.only and not tensors_in((options.get(self.only), *args[call.names.index(self.only) :])):
            return value_of(function, args, options)
        places = call.places(args, options)
        if mode.current is PLAIN:
            return value_of(function, args, options) if places is None else value_at(function, args, options, places)
        checked: Sequence[Any] = args
        if places is None:
            call.check(args, options)
            checked, options = call.coerced(args, options)
            value = value_of(function, checked, options)
            found = self.find(checked, options)
        else:
            value = value_at(function, args, options, places)
            found = [(i, None if i in self.makers else i, args[i].node) for i in places if args[i].node is not None]
        several = isinstance(value, (tuple, list))
        if several and not any(floating(np.asarray(v).dtype) for v in value):
            return value  # np.where(t) gives the places of what is not 0
        makers = [] if self.body is not None else [self.maker(key) for key, _, _ in found]
        parents = [] if mode.current is CONSTANT else [node for _, _, node in found]

        def make(result: Any) -> Pullback:
            return self.pullback(found, makers, checked, options, result)

        if several:
            return refilled(value, record_outputs(unshared(value, args), parents, make))
        return record(function, value, parents, make, needs_result=any([maker.wants_result for maker in makers]))

    def find(self, args: Sequence[Any], options: dict[str, Any]) -> list[Found]:
        """Returns the Tensors on the graph among the arguments and in sequences of arrays among them, in order."""
        tensor = tensor_kind()
        found: list[Found] = []
        places: list[tuple[Any, Any]] = [*enumerate(args), *options.items()]
        for key, a in places:
            if type(a) is tensor:
                found.append((key, None if key in self.makers else key, a.node))
            elif isinstance(a, list):
                found += [(key, i, item.node) for i, item in enumerate(a) if type(item) is tensor]
        return [one for one in found if one[2] is not None]

    def maker(self, key: int | str) -> Derivation:
        """Returns the maker of an argument; raises TypeError if it has none."""
        maker = self.makers.get(key, self.rest)
        if maker is None:
            raise self.call.no_rule(key)
        return maker

    def pullback(self, found: list[Found], makers: list[Derivation], args: Sequence[Any], options: dict[str, Any],
                 result: Any) -> Pullback:
        """Returns the function from the gradient of the result to the gradients of the Tensors found."""
        if self.body is not None:
            return pull_through(self.body.function, *self.call.coerced(*self.body.wanted(args, options), array_like))
        if len(makers) == 1 and found[0][1] is None:
            only = makers[0].pull(args, options, result)
            return lambda g: (only(g),)
        by_maker = {maker: maker.pull(args, options, result) for maker in makers}
        pulls = [(by_maker[maker], item) for maker, (_, item, _) in zip(makers, found, strict=True)]
        return lambda g: [pull(g) if item is None else pull(g, item) for pull, item in pulls]


def unshared(values: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    """Returns the results as arrays that share no memory with an array of the caller's."""
    arrays = [a for a in args if isinstance(a, np.ndarray)]
    return [np.array(v) if any(np.may_share_memory(v, a) for a in arrays) else np.asarray(v) for v in values]
