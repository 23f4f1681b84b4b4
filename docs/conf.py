"""How Sphinx builds the site: pages written by hand, completed from the catalog while they are read."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
STATIC = HERE.parent / "build" / "docs" / "static"
sys.path[:0] = [str(HERE), str(HERE / "_static" / "live")]

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # so that a measured curve has no steps where threads start

import tinyattn  # noqa: E402

project = "tinyattn"
author = copyright = "the tinyattn authors"
version = release = tinyattn.__version__

extensions = ["myst_nb", "sphinx.ext.mathjax", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton",
              "making.everything"]
exclude_patterns = ["_static", "making"]

html_theme = "furo"
html_title = "tinyattn"
html_static_path = ["_static", str(STATIC)]
html_css_files, html_js_files = ["style.css"], [("keys.js", {"defer": "defer"})]
html_favicon = "_static/icon.svg"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f5f99", "color-brand-content": "#1f5f99", "font-stack": "system-ui, sans-serif",
                            "font-stack--monospace": "ui-monospace, Menlo, Consolas, monospace", "color-marked-line": "#e9f1f8"},
    "dark_css_variables": {"color-brand-primary": "#7db8ef", "color-brand-content": "#7db8ef", "color-marked-line": "#1b2b3d"},
}
copybutton_prompt_text, copybutton_prompt_is_regexp = r">>> |\.\.\. ", True  # a copied example runs as it is

pygments_style, pygments_dark_style = "a11y-light", "github-dark"

mathjax_path = "mathjax/tex-chtml.js"
mathjax3_config = {"options": {"enableMenu": False}}

myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_inline", "attrs_block"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE.parent / "build" / "docs" / "executed")
nb_execution_show_tb = True  # a failed cell is a warning that shows it, and -W makes an error of it
nb_execution_timeout = 120
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "undoc-members": True, "no-value": True}
napoleon_google_docstring = True
