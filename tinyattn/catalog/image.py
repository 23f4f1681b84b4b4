"""Rows of what images need besides visibility: a map of where to look, and positions in two dimensions."""

from __future__ import annotations

import numpy as np

from tinyattn import definitions, ops
from tinyattn.catalog import calls, refused
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws.draw import grid as draw
from tinyattn.laws.draw.options import but, plain_values
from tinyattn.laws.forms import agrees, gradients_agree
from tinyattn.laws.general import mixing_laws
from tinyattn.laws.grid import channels_reversed, in_a_corner, within_the_image
from tinyattn.laws.law import Law
from tinyattn.laws.oracles import grid as oracles
from tinyattn.laws.score import plain

# The gate is a function of the image, which stands for q: the values have no part in it.
OF_A_GATE = tuple(law for law in mixing_laws(draw.channels, heads=False) if law.name != "linear_in_the_values")
ROWS = (
    Row(name="spatial_gate",
        says="The image is multiplied by a map of where to look, made from each place's mean and largest channel.",
        definition=definitions.spatial_gate, called=calls.of_an_image,
        papers=(Paper("Woo et al.", 2018, "1807.06521"),), kind="exact", cost="y x (channels + k k)",
        aliases=("cbam", "spatial attention", "spatial attention module"),
        sample=draw.channels,
        laws=(agrees("moved_and_added", oracles.moved_and_added, draw=draw.channels,
                     says="Adding up whole maps, one moved by each step of the kernel, gives the same."),
              gradients_agree("moved_and_added", oracles.moved_and_added, draw=draw.channels),
              agrees("half", oracles.times_image(0.5), says="With weights of 0 the image is halved.",
                     draw=but(draw.channels, lambda p: p.but(kernel=0 * p.options["kernel"], bias=0.0))),
              agrees("the_image", oracles.times_image(1.0), draw=but(draw.channels, lambda p: p.but(bias=1e4)),
                     says="With a large bias the image stays as it is."),
              Law("channels_have_no_order", "Channels in another order give their outputs in that order.", draw.channels, plain,
                  channels_reversed),
              Law("nothing_grows", "No number grows or changes its sign.", draw.channels, within_the_image,
                  lambda f, p: (np.ones_like(p.q),), exact=True),
              *OF_A_GATE),
        bad_inputs=(BadInput({"kernel": np.ones((2, 4, 4))}, ValueError, ("kernel", "odd", "(2, 4, 4)")),
                    BadInput({"bias": np.ones(3)}, ValueError, ("bias", "(3,)")),
                    BadInput({"q": np.ones((2, 2))}, ValueError, ("x", "(2, 2)")))),
    Row(name="rotary_2d",
        says="Half of the channels is rotated by a cell's row, the other half by its column.",
        definition=ops.rotary_2d, called=calls.rotated_by_cells,
        papers=(Paper("Su et al.", 2021, "2104.09864"), Paper("Heo et al.", 2024, "2403.13298")), kind="exact", cost="heads i d",
        aliases=("rope 2d", "2d rope", "2d rotary", "axial rope", "rope-vit"),
        sample=draw.placed_cells,
        laws=(agrees("rotary_of_one_half", oracles.rotary_of_one_half, draw=draw.cells_one_wide,
                     says="On an image one cell wide it is rotary positions on one half of the channels."),
              gradients_agree("rotary_of_one_half", oracles.rotary_of_one_half, draw=plain_values(draw.cells_one_wide)),
              Law("only_distances_matter", "Attention in a corner of a larger image gives the same.", draw.placed_cells, plain,
                  in_a_corner),
              *mixing_laws(draw.placed_cells)),
        bad_inputs=(BadInput({"grid": (97, 1)}, ValueError, ("grid", "(97, 1)")), refused.GRID)),
)
