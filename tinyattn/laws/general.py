"""Laws made for any mechanism: that it equals another form, and what holds for every mixer of tokens."""

from __future__ import annotations

from tinyattn.laws.budget import Terms, anywhere
from tinyattn.laws.draw.options import on
from tinyattn.laws.draw.sizes import four_tokens, shared_heads
from tinyattn.laws.draw.softmax import ALL, softmax
from tinyattn.laws.dtype import array_laws
from tinyattn.laws.gradient import SLOPES, gradients
from tinyattn.laws.heads import by_head
from tinyattn.laws.law import Draw, Law, plain
from tinyattn.laws.mean import a_sequence_alone, linear_in_the_values
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.laws.terms import terms_of_gradients
from tinyattn.ops.types import Array


def agrees(name: str, other: Mechanism, *, draw: Draw | None = None, says: str | None = None, to: str | None = None,
           kind: str = "exact", terms: Terms | None = None) -> Law:
    """Returns the law that a mechanism equals another form of it, or another mechanism, on the problems drawn.

    `to` is the other mechanism's name, if it has a row of its own, `kind` says how close both are, and `terms` how large the
    terms are whose rounding no evaluation shows.
    """
    return Law(f"equals_{name}", says or f"It gives the same as {name.replace('_', ' ')}.", softmax(*ALL) if draw is None else draw,
               plain, lambda f, p: plain(other, p), to=to, kind=kind, terms=terms)


def gradients_agree(name: str, other: Mechanism, *, draw: Draw | None = None, says: str | None = None) -> Law:
    """Returns the law that a mechanism has the gradients of another form."""
    return Law(f"gradients_equal_{name}", says or f"Its gradients are those of {name.replace('_', ' ')}.",
               SLOPES if draw is None else draw, gradients, lambda f, p: gradients(other, p), pool=anywhere, terms=terms_of_gradients)


def form_agrees(name: str, other: Mechanism, draw: Draw, says: str | None = None, *, slopes: Draw | None = None,
                to: str | None = None) -> tuple[Law, Law]:
    """Returns the laws that another form gives the same outputs and the same gradients, those on `slopes` or four tokens."""
    return (agrees(name, other, draw=draw, says=says, to=to),
            gradients_agree(name, other, draw=on(draw, four_tokens) if slopes is None else slopes,
                            says=f"The law equals_{name} holds for the gradients too."))


def definition_first(definition: Mechanism, draw: Draw, laws: tuple[Law, ...]) -> tuple[Law, ...]:
    """Returns laws in an order that begins with the definition: the same outputs and the same gradients.

    Laws about parts of a result hold for many wrong mechanisms too, so that these two are made where they are missing.
    """
    made = (agrees("the_definition", definition, draw=draw, says="It gives the outputs of the definition."),
            gradients_agree("the_definition", definition, draw=on(draw, four_tokens)))
    stated = {law.name: law for law in laws}
    first = tuple(stated.pop(law.name, law) for law in made)
    return (*first, *stated.values())


def invisible(option: str, numbers: tuple[int, ...], draw: Draw) -> Law:
    """Returns the law that a block size, or another number that only divides the work, does not change the result."""
    def sized(f: Mechanism, p: Problem, sizes: tuple[int, ...]) -> tuple[Array, ...]:
        return tuple(out for size in sizes for out in plain(f, p.but(**{option: size})))

    return Law(f"{option}_is_invisible",
               f"The result does not depend on the {option} size: {', '.join(map(str, numbers))} give the same outputs.", draw,
               lambda f, p: sized(f, p, numbers), lambda f, p: sized(f, p, (1000,) * len(numbers)))


def mixing_laws(draw: Draw, *, heads: bool = True) -> tuple[Law, ...]:
    """Returns the laws that hold for every mixer of tokens, on the problems drawn; `heads` says that heads are independent."""
    heads_alone = (Law("a_head_reads_its_group", "Every query head computed alone with its group's keys and values gives the "
                                                 "same outputs.",
                       on(draw, shared_heads), plain, by_head),)
    return (linear_in_the_values(draw), a_sequence_alone(draw), *(heads_alone if heads else ()), *array_laws(draw))
