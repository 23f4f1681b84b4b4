"""One sequence in many processes: each holds some of the tokens, and together they compute one attention. No file imports MPI.

Its files, in reading order:

    layout.py               which tokens each rank holds
    agree.py                all ranks agree on a call, or all raise the same error
    threads.py              a communicator whose ranks are threads
    recording.py            a communicator that records what is sent
    messages.py             arrays as messages
    part.py                 attention of one span of queries to one span of keys
    ring.py                 keys travel from rank to rank
    heads.py                each rank computes some heads of all tokens
    tree.py                 few queries over the caches of all ranks
    states.py               the linear family: maps of states are exchanged
    turns.py                the linear family, one rank after the other: the state is handed on
    simulate.py             what each scheme computes and sends, and how long it takes
"""

from tinyattn.parallel.heads import head_parallel_attention, head_parallel_attention_with_lse
from tinyattn.parallel.layout import Layout, contiguous, zigzag
from tinyattn.parallel.ring import ring_attention, ring_attention_with_lse
from tinyattn.parallel.states import recurrent
from tinyattn.parallel.tree import tree_attention, tree_attention_with_lse
from tinyattn.parallel.turns import recurrent_in_turn

__all__ = ["Layout", "contiguous", "head_parallel_attention", "head_parallel_attention_with_lse", "recurrent",
           "recurrent_in_turn", "ring_attention", "ring_attention_with_lse", "tree_attention", "tree_attention_with_lse", "zigzag"]
