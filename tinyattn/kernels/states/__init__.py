"""A state that tokens are folded into: added to or corrected, with or without decay.

Its files, in reading order:

    onward.py               an array from one of its numbers on
    rows.py                 rows brought into tiles
    registers.py            steps on a row of a micro tile
    chunk.py                what is the same for every chunk of tokens
    fading.py               how far a state has faded between two tokens
    solve.py                the triangular systems of the delta rule
    features.py             feature maps of rows, elu + 1 and ReLU
    normaliser.py           the running sum of keys that means are divided by
    forward.py              chunks of tokens
    correcting.py           the backward of the delta rule's corrections
    backward.py             the backward: its states computed again, chunks from the last to the first
    code.py                 what intrinsics on registers side by side are written in
    passes.py               walks over a whole state: read, written over, or both
    channels.py             fading per channel
    bonus.py                what each token reads of itself, before it is written
    channel_forward.py      chunks of tokens, where each channel fades by itself
    channel_slopes.py       the gradients of its decays
    channel_backward.py     its backward
    step.py                 one token at a time
    replay.py               what kernels gave, kept and given again where a form runs a second time
    primitive.py            forward and backward as one differentiable function
    linear_primitive.py     the same with feature maps and normaliser, for linear attention
    exponential.py          exponential gates relative to the running maxima of their logarithms
    memory_primitive.py     a memory with them and a normaliser as one differentiable function
    before_step.py          read before it is written, one token at a time
    before_primitive.py     forward and backward of it as one differentiable function
    token.py                one more token like the last, folded in without the checks that this one passed
    taylor.py               the features whose products are the first terms of an exponential, channel by channel
    taylor_forward.py       linear attention with them
    taylor_backward.py      its backward
    taylor_primitive.py     both as one differentiable function
    reading_tokens.py       what tokens read along and write along, made of what was given
    reading.py              chunks of tokens, each of which reads the state along one vector and writes along another
    reading_slopes.py       the gradients of what was given
    reading_backward.py     its backward
    reading_step.py         the same, one token at a time
    reading_primitive.py    forward and backward of it as one differentiable function
    level_registers.py      micro tiles of products with the states of levels
    level_tree.py           the past of a chunk as states of levels
    level_forward.py        chunks of tokens, each of which reads one state per level
    level_slopes.py         parts of its backward
    level_backward.py       its backward
    level_step.py           the same, one token at a time
    level_primitive.py      forward and backward of it as one differentiable function
    cholesky.py             Cholesky factors of many matrices, one per lane of a register
    regression.py           ridge regressions of every token on all tokens so far
"""
