"""Rows of windows of a grid: shifted (Swin), and alone or beside the means of blocks (Twins)."""

from __future__ import annotations

import numpy as np

from tinyattn import definitions
from tinyattn.catalog import refused
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws.draw import grid as draw
from tinyattn.laws.draw.options import but, plain_values
from tinyattn.laws.forms import agrees, gradients_agree
from tinyattn.laws.general import mixing_laws
from tinyattn.laws.grid import first_window, first_window_of_others_changed, with_zero_table
from tinyattn.laws.law import Law
from tinyattn.laws.oracles import grid as oracles
from tinyattn.laws.oracles.calls import taking
from tinyattn.laws.oracles.grid import cells, shared_window
from tinyattn.laws.score import plain

LIU, CHU = Paper("Liu et al.", 2021, "2103.14030"), Paper("Chu et al.", 2021, "2104.13840")
GRID, TWO = (4, 4), (2, 2)
ROWS = (
    Row(name="shifted_window_attention",
        says="Each cell attends within its window; every second layer shifts the windows.",
        definition=definitions.shifted_window_attention,
        papers=(LIU,), kind="exact", cost="heads i window (d + e), window = the cells of one",
        aliases=("swin", "swin transformer", "swin attention", "shifted windows", "sw-msa", "w-msa", "s2-swin", "s2 shifted window",
                 "window attention"),
        sample=draw.shifted_windows,
        laws=(agrees("ragged_windows", oracles.ragged_windows, draw=draw.shifted_windows,
                     says="The windows between the shifted borders one by one, smaller at both ends, give the same."),
              gradients_agree("ragged_windows", oracles.ragged_windows, draw=plain_values(draw.shifted_windows)),
              agrees("attention_within_windows", oracles.within_windows, draw=draw.without_table, to="attention",
                     says="It is attention with a mask of shared windows."),
              agrees("attention", oracles.all_cells, draw=draw.covering_window, to="attention",
                     says="With a window as large as the grid it is attention to all cells, whatever the shift."),
              agrees("locally_grouped_attention", taking(definitions.locally_grouped_attention, "grid", "window", "scale"),
                     draw=draw.UNSHIFTED, to="locally_grouped_attention", says="Without a shift it is locally grouped attention."),
              agrees("local_blocks", oracles.blocks_of_text, draw=draw.UNSHIFTED_LINE, to="multi_head_local_attention",
                     says="On a line, without a shift, it is local attention by blocks."),
              agrees("shifted_sparse_attention", oracles.shifted_heads, draw=draw.half_shifted, to="shifted_sparse_attention",
                     says="On a line, shifted by half a window, it gives what the shifted heads of shifted sparse attention give."),
              Law("a_table_of_zeros_is_none", "A bias table of zeros has no effect.", draw.without_table, plain, with_zero_table),
              Law("a_whole_window_of_shift_is_none", "Shifting the borders by a whole window more has no effect.",
                  draw.shifted_windows, plain, lambda f, p: plain(f, p.but(
                      shift=tuple(s + w for s, w in zip(p.options["shift"], p.options["window"], strict=True))))),
              Law("windows_do_not_see_each_other", "Changing the cells of other windows changes no bit of a window's output.",
                  draw.without_table, first_window, first_window_of_others_changed, exact=True),
              *mixing_laws(draw.without_table)),
        bad_inputs=(refused.GRID, refused.SCALE, BadInput({"shift": -1}, ValueError, ("shift", "-1")),
                    BadInput({"bias_table": np.ones((2, 2))}, ValueError, ("bias_table", "(2, 2)"))),
        pattern=cells(GRID, shared_window(GRID, TWO, (1, 1)), "windows of 2 by 2 cells of a 4 by 4 grid, shifted by 1")),
    Row(name="locally_grouped_attention",
        says="Each cell attends within its window of the grid.",
        definition=definitions.locally_grouped_attention,
        papers=(CHU,), kind="exact", cost="heads i window (d + e), window = the cells of one",
        aliases=("lsa", "twins", "twins-svt", "twins lsa"),
        sample=draw.windows,
        laws=(agrees("ragged_windows", oracles.ragged_windows, draw=draw.windows, says="The windows one by one give the same."),
              gradients_agree("ragged_windows", oracles.ragged_windows, draw=plain_values(draw.windows)),
              agrees("attention", oracles.all_cells, draw=but(draw.windows, lambda p: p.but(window=p.options["grid"])), to="attention",
                     says="With a window as large as the grid it is attention to all cells."),
              *mixing_laws(draw.windows)),
        bad_inputs=(refused.GRID, refused.SCALE, BadInput({"window": 0}, ValueError, ("window", "0"))),
        pattern=cells(GRID, shared_window(GRID, TWO, (0, 0)), "windows of 2 by 2 cells of a 4 by 4 grid")),
    Row(name="global_subsampled_attention",
        says="Every cell attends to one mean for each block of the grid.",
        definition=definitions.global_subsampled_attention,
        papers=(CHU,), kind="approximate", cost="heads i (j / block) (d + e), block = the cells of one",
        aliases=("gsa", "twins gsa", "spatial reduction attention", "sra", "pvt"),
        sample=draw.pooled_blocks,
        laws=(agrees("linformer_attention", oracles.averages, draw=draw.pooled_blocks, to="linformer_attention",
                     says="It is Linformer with projections that average blocks."),
              gradients_agree("linformer_attention", oracles.averages, draw=plain_values(draw.pooled_blocks)),
              agrees("attention", oracles.all_cells, to="attention",
                     draw=but(draw.pooled_blocks, lambda p: p.but(ratio=(1,) * len(p.options["grid"]))),
                     says="With blocks of one cell it is attention to all cells."),
              agrees("mean_of_all", oracles.mean_of_all, draw=but(draw.pooled_blocks, lambda p: p.but(ratio=p.options["grid"])),
                     says="With one block for the whole grid every query gives the mean of all values."),
              *mixing_laws(draw.pooled_blocks)),
        bad_inputs=(refused.GRID, refused.SCALE, BadInput({"ratio": 0}, ValueError, ("ratio", "0")))),
)
