"""LightGBM's text format: lines of `name=value`, trees, and parameters, of which some name files and programs."""

from __future__ import annotations

from typing import Final

from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.expressions import later

MAGIC: Final = b"tree\nversion=v"
_MAX_COUNT: Final = 10_000_000
_COUNTS: Final = later(rb"(?m)^(num_class|num_tree_per_iteration|max_feature_idx|num_leaves|num_cat)=(.{0,100})")
_FILES: Final = later(
    rb"(?m)^\[(data|valid|input_model|output_model|output_result|initscore_filename|valid_data_initscores|machine_list_"
    rb"filename|forcedsplits_filename|forcedbins_filename|convert_model|parser_config_file): ?([^\]\n]{1,1000})"
)
_OWN_OUTPUT: Final = frozenset({b"LightGBM_model.txt", b"LightGBM_predict_result.txt", b"gbdt_prediction.cpp"})


def inspect_lightgbm(data: memoryview, context: Context) -> str:
    """Hold the counts to sizes that are believable, and report parameters that name files."""
    for count in _COUNTS.finditer(data):
        value = count[2].strip()
        if not value.isdigit() or int(value[:12]) > _MAX_COUNT:
            context.report("limit.reached", f"{shown(count[1])} is {shown(value)}", count.start())
            break
    for parameter in _FILES.finditer(data):
        if parameter[2].strip() not in _OWN_OUTPUT | {b""}:
            context.report("config.file", f"the parameter {shown(parameter[0])} names a file", parameter.start())
    return "lightgbm"
