"""The panel library: how one of our panels looks, so that `hopsworks` only says what it shows.

Rules of this file: every axis starts at zero and has a unit, every panel has a
description, every query goes through `Query`, and every per-pod query carries the
label `pod_short`, whatever the pods are called.
"""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.builders.common import ReduceDataOptions
from grafana_foundation_sdk.builders.dashboard import FieldColor, Row, ThresholdsConfig
from grafana_foundation_sdk.builders.stat import Panel as SingleStat
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.models import common, dashboard

INSTANCE_PREFIX = "hopsworks-instance-"
"""What the pods of the platform are called; the rest of the name is the short identifier."""

DATASOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")

PANEL_HEIGHT, STAT_HEIGHT = 8, 4
SIXTH, THIRD, HALF, FULL = 4, 8, 12, 24
"""Widths in Grafana's 24 columns."""

GREEN, ORANGE, RED = "green", "orange", "red"


def by_pod(expression: str) -> str:
    """Add `pod_short` to every series of an expression that keeps `pod_name`.

    Two replacements, because `label_replace` leaves a series alone when its pattern
    does not match: the inner one gives every pod a `pod_short` (its whole name), the
    outer one shortens the names that begin with the prefix of the platform.

    Example:
        >>> by_pod("ws_pool_cpu_cores").count("label_replace")
        2
    """
    named = f'label_replace({expression},"pod_short","$1","pod_name","(.*)")'
    return f'label_replace({named},"pod_short","$1","pod_name","{INSTANCE_PREFIX}(.*)")'


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel.

    Attributes:
        expression: PromQL.
        legend: Grafana's legend format; ``{{label}}`` is replaced per series.
        dashed: Draw the line dashed, without a fill: a limit, not a measurement.
        colour: A fixed colour; None takes the next one of the palette.
    """

    expression: str
    legend: str
    dashed: bool = False
    colour: str | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """One time series panel.

    Attributes:
        title: Part of the contract for the panels that the pool page names.
        description: What it means, then what to do when it looks wrong.
        unit: Grafana's identifier of the unit.
        queries: In the order of the legend.
        width: Of 24 columns.
        stacked: Stack the series as areas: their sum is the message.
        axis: What the axis counts, where the unit does not say it.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    width: int = THIRD
    stacked: bool = False
    axis: str | None = None

    def build(self) -> TimeSeries:
        """Build the panel as Grafana's library types it."""
        panel = (
            TimeSeries()
            .title(self.title)
            .description(self.description)
            .datasource(DATASOURCE)
            .unit(self.unit)
            .min(0)
            .height(PANEL_HEIGHT)
            .span(self.width)
            .draw_style(common.GraphDrawStyle.LINE)
            .line_interpolation(common.LineInterpolation.LINEAR)
            .line_width(2 if not self.stacked else 1)
            .line_style(common_builders.LineStyle().fill("solid"))
            .fill_opacity(40 if self.stacked else 0)
            .show_points(common.VisibilityMode.NEVER)
            .color_scheme(FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC))
            .legend(
                common_builders.VizLegendOptions()
                .display_mode(common.LegendDisplayMode.TABLE)
                .placement(common.LegendPlacement.BOTTOM)
                .show_legend(True)
                .calcs(["lastNotNull", "max"])
            )
            .tooltip(
                common_builders.VizTooltipOptions()
                .mode(common.TooltipDisplayMode.MULTI)
                .sort(common.SortOrder.DESCENDING)
            )
        )
        if self.stacked:
            panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
        if self.axis is not None:
            panel.axis_label(self.axis)
        for letter, query in zip("ABCDEFGH"[: len(self.queries)], self.queries, strict=True):
            panel.with_target(_target(letter, query.expression, query.legend))
            if properties := _overrides(query):
                # By name where the name is fixed, since that is what people see in the editor.
                if "{{" in query.legend:
                    panel.override_by_query(letter, properties)
                else:
                    panel.override_by_name(query.legend, properties)
        return panel


@dataclass(frozen=True, slots=True)
class Stat:
    """One number with what it was lately, in the colour that says whether it is well.

    Attributes:
        title: What the number is.
        description: What it means, then what to do when it looks wrong.
        unit: Grafana's identifier of the unit.
        expression: PromQL with one series for an answer.
        colours: Each with the value from which on it is; the first holds for all below the second.
    """

    title: str
    description: str
    unit: str
    expression: str
    colours: tuple[tuple[float, str], ...] = ((0, GREEN),)

    def build(self) -> SingleStat:
        """Build the panel as Grafana's library types it."""
        first, *others = self.colours
        steps = [dashboard.Threshold(value=None, color=first[1])]
        steps += [dashboard.Threshold(value=value, color=colour) for value, colour in others]
        return (
            SingleStat()
            .title(self.title)
            .description(self.description)
            .datasource(DATASOURCE)
            .unit(self.unit)
            .min(0)
            .decimals(0)
            .height(STAT_HEIGHT)
            .span(SIXTH)
            .color_scheme(FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
            .thresholds(ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps))
            .color_mode(common.BigValueColorMode.VALUE)
            .graph_mode(common.BigValueGraphMode.AREA)
            .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
            .with_target(_target("A", self.expression, self.title))
        )


def _target(letter: str, expression: str, legend: str) -> prometheus.Dataquery:
    """Return what a panel asks Prometheus."""
    query = prometheus.Dataquery().ref_id(letter).expr(expression).legend_format(legend)
    return query.range().datasource(DATASOURCE)


def _overrides(query: Query) -> list[dashboard.DynamicConfigValue]:
    """Return the field overrides that draw one query apart from the others."""
    properties: list[dashboard.DynamicConfigValue] = []
    if query.colour is not None:
        properties.append(
            dashboard.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": query.colour})
        )
    if query.dashed:
        properties += [
            dashboard.DynamicConfigValue(id_val="custom.lineStyle", value={"fill": "dash", "dash": [10, 10]}),
            dashboard.DynamicConfigValue(id_val="custom.fillOpacity", value=0),
            # A limit must not be added to what it limits.
            dashboard.DynamicConfigValue(id_val="custom.stacking", value={"mode": "none", "group": "A"}),
        ]
    return properties


def row(title: str) -> Row:
    """Build the heading above a group of panels."""
    return Row(title)
