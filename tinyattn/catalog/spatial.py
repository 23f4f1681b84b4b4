"""Rows of lines and neighbourhoods of a grid."""

from __future__ import annotations

from tinyattn import definitions
from tinyattn.catalog import refused
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.catalog.windows import GRID
from tinyattn.laws.draw import grid as draw
from tinyattn.laws.draw.options import plain_values
from tinyattn.laws.forms import agrees, gradients_agree
from tinyattn.laws.general import causal, mixing_laws
from tinyattn.laws.grid import far_from_borders, residues, transposed
from tinyattn.laws.law import Law
from tinyattn.laws.oracles import grid as oracles
from tinyattn.laws.oracles.calls import own_values
from tinyattn.laws.score import plain

NEAREST = oracles.neighbour(GRID, (3, 3), (1, 1), (1, 1), (False, False))
ROWS = (
    Row(name="axial_attention",
        says="Each cell attends to the line through it along one axis of the grid.",
        definition=definitions.axial_attention,
        papers=(Paper("Ho et al.", 2019, "1912.12180"), Paper("Wang et al.", 2020, "2003.07853")), kind="exact",
        cost="heads i line (d + e), line = the cells of one",
        aliases=("axial", "row attention", "column attention", "axial transformer", "axial-deeplab"),
        sample=draw.lines,
        laws=(agrees("line_by_line", oracles.line_by_line, draw=draw.lines, says="The lines one by one give the same."),
              gradients_agree("line_by_line", oracles.line_by_line, draw=plain_values(draw.lines)),
              agrees("attention_along_lines", oracles.along_lines, draw=draw.lines, to="attention",
                     says="It is attention with a mask of shared lines."),
              agrees("attention", oracles.all_cells, draw=draw.lines_one_wide, to="attention",
                     says="On an image one cell wide it is attention to all cells."),
              Law("a_transposed_image_has_the_other_axis",
                  "The transposed image, read along the other axis, gives the transposed output.", draw.unequal_sides, plain,
                  transposed),
              *mixing_laws(draw.lines)),
        bad_inputs=(refused.GRID, refused.SCALE, BadInput({"axis": 7}, ValueError, ("axis", "7"))),
        pattern=oracles.cells(GRID, oracles.shared_line(1), "rows of a 4 by 4 grid")),
    Row(name="neighborhood_attention",
        says="Each cell attends to the nearest cells, as many at a border as elsewhere.",
        definition=definitions.neighborhood_attention,
        papers=(Paper("Hassani et al.", 2022, "2204.07143"), Paper("Hassani and Shi", 2022, "2209.15001"),
                Paper("Hassani et al.", 2025, "2504.16922")), kind="exact",
        cost="heads i kernel (d + e), kernel = the cells of one",
        aliases=("na", "nat", "natten", "dinat", "neighbourhood attention", "gna", "generalized neighborhood attention"),
        sample=draw.neighbourhoods,
        laws=(agrees("attention_to_neighbours", oracles.to_neighbours, draw=draw.neighbourhoods, to="attention",
                     says="It is attention with a mask of neighbours."),
              gradients_agree("attention_to_neighbours", oracles.to_neighbours, draw=plain_values(draw.neighbourhoods)),
              agrees("attention", oracles.all_cells, draw=draw.WHOLE_KERNEL, to="attention",
                     says="With a kernel as large as the grid it is attention to all cells."),
              agrees("own_values", own_values, draw=draw.KERNEL_OF_ONE, says="With a kernel of 1 every cell reads its own value."),
              agrees("last_cells", oracles.last_cells, draw=draw.CAUSAL_LINE, to="multi_head_local_attention",
                     says="On a line, with causality, it is local attention to the last tokens."),
              agrees("shifted_window_attention", oracles.unshifted_windows, draw=draw.stride_of_the_kernel,
                     to="shifted_window_attention", says="With a stride as large as the kernel it is windows without a shift."),
              Law("far_from_borders_it_is_a_window",
                  "On a line, for cells further from both ends than half a kernel, it is attention with a window.", draw.odd_kernel,
                  far_from_borders, lambda f, p: far_from_borders(oracles.sliding_window, p)),
              Law("dilation_is_a_neighbourhood_of_each_residue",
                  "Each residue's cells computed alone, without dilation, give the same as with dilation.", draw.neighbourhoods, plain,
                  residues),
              causal(lambda rng, sizes: draw.neighbourhoods(rng, sizes, 1).but(causal=True)), *mixing_laws(draw.neighbourhoods)),
        bad_inputs=(refused.GRID, refused.SCALE, BadInput({"kernel": 99}, ValueError, ("kernel", "99")),
                    BadInput({"stride": 99}, ValueError, ("stride", "99")), BadInput({"causal": 1}, TypeError, ("causal", "int"))),
        pattern=oracles.cells(GRID, NEAREST, "the 3 by 3 nearest cells of a 4 by 4 grid")),
)
