"""The evidence on a model as one page of HTML that needs nothing else: figures, tables, no script, no network.

It shows what `--json` prints, and decides nothing. Names and reasons come from whoever submitted the model, so nothing
reaches the page unescaped.
"""

from vallum_client.report.page import Evidence, prepare, render, write

__all__ = ["Evidence", "prepare", "render", "write"]
