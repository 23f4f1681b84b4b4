"""Every attention mechanism: a definition to read, a kernel to run, laws that tie the two.

The map. Read downwards: a file imports only what stands above it. A folder without files here lists them in its own `__init__`.

engine/                  1  how gradients happen
  graph.py                  who was computed from whom, and the one walk back
  table.py                  the rule table: a row a NumPy function
  moves.py                  the moves a Tensor makes itself: dtype, index, solve
  tensor.py                 Tensor: an array that answers NumPy's own functions
  primitive.py              a function that brings its own backward
  rules_elementwise.py      rows: each element alone
  rules_reduce.py           rows: fold an axis, or run along it
  rules_linear.py           rows: products, solutions
  rules_shape.py            rows: elements in other places
  rules_index.py            rows: selections
  rules_refused.py          rows that refuse, with the reason
  tree.py                   trees of arrays
  grad.py                   grad, value_and_grad, vjp
  check.py                  one number that says whether a gradient is right
ops/                     2  small named pieces of NumPy
  types.py                  what annotations call an array
  signature.py              @shapes: a mechanism's axes, declared and checked
  heads.py                  heads cut, joined, grouped
  softmax.py                softmax, logsumexp, and what is before the division
  merge.py                  two partial attentions become one
  largest.py                the largest numbers of a row
  norm.py                   RMS, layer, unit length
  activation.py             sigmoid, SiLU, GELU, softplus
  loss.py                   cross-entropy
  masks/                 who may see whom
    picture.py              a mask in text or SVG
    pattern.py              Pattern: a predicate, its algebra, its blocks
    constructors.py         causal, window, prefix, strided, ...
    published.py            patterns of one mechanism each
    batched.py              padding, packed documents
    expression.py           patterns parsed from text
  windows.py                cells of a grid
  positions/             where a token stands
    frequencies.py          rotary frequencies and their scalings
    rotary.py               rotary positions
    absolute.py             sinusoids, ALiBi's slopes, T5's buckets
  quantize.py               numbers in 8 or 4 bits
  draws.py                  what is drawn at random beside a mechanism
  bias.py                   biases that are a rule on positions
  options.py                the options of softmax attention, checked
  features.py               feature maps of linear attention
  gates.py                  the gates of recurrences, checked
  linear_options.py         the options of the linear family, checked
  files/                 written whole or not at all
    atomic.py               a file that takes its place when it is complete
    header.py               a safetensors header, checked before it is believed
    safetensors.py          arrays by name in one file
definitions/             3  what each mechanism is
  softmax/               every visible score is computed
    dot_product.py          attention, its weights, its lse
    grouped.py              multi-head, multi-query, grouped-query
    streaming.py            one block of keys at a time
    off_by_one.py           a 1 in the denominator
    qk_norm.py              queries and keys of one length
    differential.py         one attention minus another
    gated.py                a gate on what was read
    dynamic_contextual.py   each token says how far it looks
    contextual_position.py  positions that count what is worth counting
    dual_chunk.py           positions that never grow beyond training's
    latent.py               keys and values out of one small vector
  sparse/                not every visible score is computed
    local.py                a window of its own for each head
    gathered.py             the blocks that somebody sees
    block_sparse.py         a table of blocks
    longformer.py           a window, and tokens that see all
    bigbird.py              neighbours, ends, and some at random
    top_k.py                the largest scores
    lsh.py                  those that a hash brings near
    native_sparse.py        means, chosen blocks, a window
    block_mixture.py        blocks chosen by their mean key
    streaming_llm.py        the first tokens and the last
    shifted_sparse.py       groups, shifted in half of the heads
  lowrank/               few stand for all
    linformer.py            keys projected to a shorter length
    nystrom.py              landmarks between queries and keys
  spatial/               tokens are cells of a grid
    shifted_window.py       windows, and windows shifted
    axial.py                one axis at a time
    neighborhood.py         the nearest cells
    twins.py                windows, and means of all
    spatial_gate.py         a map of where to look
  linear/                a state in the place of the keys
    linear.py               linear attention: parallel, recurrent, chunked
    gated.py                a state whose channels fade
    retention.py            a state that fades as a whole
    delta.py                a state that is corrected
kernels/                 4  the same functions, fast
  jit.py                    compiled when first called, kept on disk
  lanes.py                  the registers of this machine, exp and tanh on them
  tile.py                   the tile product
  vector.py                 softmax on a tile, a register at a time
  dots.py                   inner products, where there are few queries
  threads.py                tasks over threads
  storage.py                arrays as kernels read them
  seen.py                   masks as kernels read them
  scores.py                 from products to scores
  attention_forward.py      tiles, an online softmax
  attention_backward.py     five products a tile
  decode.py                 few queries, many keys
  paged.py                  the same through block tables
  unpack.py                 codes as numbers again
  packed.py                 the same over packed keys
  exact.py                  forward and backward as one primitive
  reading.py                keys in parts, in pages, packed
  attention.py              the door
fastest.py               4b the best form for a call
caches/                  5  what decoding remembers
  protocol.py               what every cache does, and the checks it shares
  reading.py                keys in parts, in pages, packed
  tape.py                   rows written behind rows
  base.py                   compute, then commit; threads, copies, files
  taped.py                  caches of tapes
  growing.py                all keys and values
  fixed.py                  room made once
  ring.py                   the last tokens, and the first
  quantized.py              older tokens in 8 or 4 bits
  pages.py                  the book of a pool: who holds which page
  paged.py                  many sequences in one pool of pages
  latent.py                 latent vectors
  state.py                  the state alone
  cross.py                  an encoder's memory
  shared.py                 another layer's keys
  batch.py                  rows of different lengths
  policies.py               who is forgotten first
  evicting.py               a budget of tokens
layers/                  6  with parameters
  linear.py                 one matrix
  norm.py                   RMSNorm
  feed_forward.py           SwiGLU
  inputs.py                 gates and decays from the tokens, parameters of their own
  attention.py              self- and cross-attention around any mechanism
  latent.py                 latent attention with its projections
  spatial_gate.py           a gate on the cells of a grid
  patch.py                  patches of an image as tokens
  block.py                  a pre-norm block
  swin.py                   a block of shifted windows
models/                  7  small and whole
  config.py                 the sizes of a decoder
  text.py                   bytes, batches, the bigram to beat
  sampling.py               the next token from its logits
  decoder.py                a byte-level language model
  optimise.py               AdamW, schedule, clipping
  train.py                  the loop
  generate.py               writing on
  prefix.py                 a text read once, continued many times
  batched.py                prompts of different lengths, side by side
  beam.py                   the likeliest texts
  speculate.py              a small model proposes, the large one judges
  checkpoint.py             a model in a file
  evaluate.py               bits a byte; cached against full
  image.py                  an image model
  digits.py                 8 x 8 digits, and training on them
laws/                    8  what must hold, as values
catalog/                 9  one row per mechanism
testing/                 10 how we know
plot.py                  11 pictures, with matplotlib
cli/                     12 the command line
  terminal.py               tables and progress
  memory.py                 freed memory kept
  list.py                   tinyattn list
  show.py                   tinyattn show
  check.py                  tinyattn check
  museum.py                 tinyattn museum
  picture.py                tinyattn picture
  equivalences.py           tinyattn equivalences
  train.py                  tinyattn train
  cache_names.py            caches by name
  generate.py               tinyattn generate
  trained.py                a model, trained and writing
  compare_caches.py         one model through many caches
  compare_digits.py         what digits compare
  compare.py                tinyattn compare
  presets.py                shapes of well-known models
  cost.py                   tinyattn cost
  torch_step.py             the same training step in PyTorch
  measure.py                seconds, in turns
  time_train.py             the training step's table
  step_by_hand.py           decoding without any of this
  time_generate.py          the decoding step's table
  time_caches.py            a long text's decoding step, cache by cache
  kernel_cases.py           what the kernels' table measures
  peers.py                  other libraries' attention
  time_kernels.py           the kernels' table
  time.py                   tinyattn time
__main__.py              python -m tinyattn
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {name: "tinyattn.engine" for name in ("Tensor", "grad", "no_grad", "primitive", "value_and_grad", "vjp")}
_HOMES |= {name: "tinyattn.definitions" for name in (
    "attention_weights", "attention_with_lse", "grouped_query_attention", "linear_attention",
    "linear_attention_chunked", "linear_attention_parallel", "linear_attention_recurrent", "multi_head_attention",
    "multi_query_attention", "streaming_attention")}
_HOMES |= {name: "tinyattn.ops" for name in ("Bias", "Pattern", "alibi", "merge", "relative", "rotary")}
_HOMES["attention"] = "tinyattn.fastest"
_PARTS = ("caches", "catalog", "definitions", "engine", "fastest", "kernels", "laws", "layers", "models", "ops", "plot", "testing")

__all__ = ["__version__", *sorted(_HOMES), *_PARTS]


def __getattr__(name: str) -> Any:
    # Names are found when they are asked for: importing all of it takes as long as importing NumPy.
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name in _PARTS:
        value = import_module(f"tinyattn.{name}")
    else:
        raise AttributeError(f"module 'tinyattn' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
