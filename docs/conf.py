"""How Sphinx builds the documentation: `make docs`."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from generate import generate

generate(Path(__file__).parent / "_generated")

project = "umbel"
author = "The umbel authors"
copyright = "The umbel authors"
release = version = version_of("umbel")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_generated"]
nitpicky = True

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_use_type_comments = False
autodoc_preserve_defaults = True  # as the code says them, not as Python shows their values
maximum_signature_line_length = 88

# Docstrings put names into single back ticks; where there is a page for one, it becomes a link.
default_role = "py:obj"
# Not all that types name has a page: Python's own classes, type variables, and what is not public.
nitpick_ignore_regex = [("py:.*", ".*")]

# Copy the commands, not the prompts or what they print.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"umbel {version}"
html_static_path = ["_static"]
html_css_files = ["umbel.css"]
html_favicon = "_static/favicon.svg"
html_theme_options = {
    "light_logo": "umbel-light.svg",
    "dark_logo": "umbel-dark.svg",
    "sidebar_hide_name": True,
    "light_css_variables": {"color-brand-primary": "#2f6b3f", "color-brand-content": "#2f6b3f"},
    "dark_css_variables": {"color-brand-primary": "#7cc08c", "color-brand-content": "#8fd0a0"},
}
