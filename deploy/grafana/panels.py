"""What dashboard.py is put together from: figures, lines, tables and variables, in one style."""

from collections.abc import Sequence
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="$datasource")
COLOURS: Final = {"ok": "green", "tool_error": "blue", "cancelled": "text", "timeout": "orange", "error": "red"}


def query(expr: str, legend: str = "") -> prometheus.Dataquery:
    """Over the time that is shown."""
    return prometheus.Dataquery().datasource(SOURCE).expr(expr).legend_format(legend).range()


def now(expr: str, ref: str = "A") -> prometheus.Dataquery:
    """As it is at the end of that time, as a table."""
    made = prometheus.Dataquery().datasource(SOURCE).expr(expr).instant()
    return made.format(PromQueryFormat.TABLE).ref_id(ref)


def levels(*steps: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    """Colours from values on."""
    found = [Threshold(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(found)


QUIET: Final = levels((None, "text"))


def number(
    title: str,
    expr: str,
    about: str,
    *,
    unit: str = "short",
    steps: dashboard.ThresholdsConfig = QUIET,
    decimals: float | None = None,
) -> stat.Panel:
    """One figure and its course."""
    panel = (
        stat.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .with_target(query(expr).ref_id("A"))
        .unit(unit)
        .no_value("-")
        .thresholds(steps)
        .color_mode(shapes.BigValueColorMode.VALUE)
        .graph_mode(shapes.BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .span(4)
        .height(4)
    )
    return panel if decimals is None else panel.decimals(decimals)


def course(
    title: str,
    about: str,
    *queries: prometheus.Dataquery,
    unit: str = "short",
    width: int = 12,
    stacked: bool = False,
    bars: bool = False,
    most: float | None = None,
) -> timeseries.Panel:
    """Lines over time, or bars."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .line_width(1)
        .fill_opacity(25 if stacked else 5)
        .show_points(shapes.VisibilityMode.NEVER)
        .span_nulls(False)
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .legend(
            common.VizLegendOptions()
            .display_mode(shapes.LegendDisplayMode.LIST)
            .placement(shapes.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING))
        .span(width)
        .height(7)
    )
    if bars:
        # A bar for each minute: narrower ones would each show what happened in the whole of $__rate_interval.
        panel.draw_style(shapes.GraphDrawStyle.BARS).fill_opacity(60).decimals(0).interval("1m")
    if stacked:
        panel.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL))
    if most is not None:
        panel.axis_soft_max(most)
    for ref, each in zip("ABCDEF", queries, strict=False):
        panel.with_target(each.ref_id(ref))
    return panel


def by_outcome(panel: timeseries.Panel) -> timeseries.Panel:
    """An outcome has the same colour everywhere."""
    for outcome, colour in COLOURS.items():
        fixed = DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": colour})
        panel.override_by_name(outcome, [fixed])
    return panel


Column = tuple[str, str, str, dashboard.ThresholdsConfig | None]
"""Heading, expression, unit, and colours of its text."""


def columns(
    title: str, about: str, given: Sequence[Column], *, keys: Sequence[str], width: int, sort: str
) -> table.Panel:
    """Instant figures side by side, joined by the labels `keys`."""
    panel = (
        table.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .no_value("-")
        .sort_by([common.TableSortByFieldState().display_name(sort).desc(sort not in keys)])
        .span(width)
        .height(8)
    )
    names: dict[str, str] = {}
    for ref, (heading, expr, unit, steps) in zip("ABCDEFGHIJKLMNOP", given, strict=False):
        panel.with_target(now(expr, ref))
        # With one query alone Grafana calls its column "Value".
        names[f"Value #{ref}" if len(given) > 1 else "Value"] = heading
        look = [DynamicConfigValue(id_val="unit", value=unit)]
        if steps is not None:
            look += [
                DynamicConfigValue(id_val="thresholds", value=steps.build()),
                DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}),
            ]
        panel.override_by_name(heading, look)
    order = {name: place for place, name in enumerate([*keys, *names])}
    tidy = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": names}
    return panel.with_transformation(DataTransformerConfig(id_val="merge", options={})).with_transformation(
        DataTransformerConfig(id_val="organize", options=tidy)
    )


def choice(name: str, label: str, expr: str, everything: str) -> dashboard.QueryVariable:
    """A variable with the values of a label, of which several may be chosen; all at first."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(expr)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(everything)
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
    )
