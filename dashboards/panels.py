# SPDX-License-Identifier: GPL-3.0-or-later
"""A panel from a line of data, by Grafana's own builders, so that what they do not know is no dashboard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard, gauge, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import dashboard as models

DATASOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="slipway-prometheus")
BUILDERS: Final[dict[str, Callable[[], Any]]] = {
    "stat": stat.Panel,
    "gauge": gauge.Panel,
    "series": timeseries.Panel,
    "table": table.Panel,
}
HEIGHT: Final = 8


@dataclass(frozen=True)
class Panel:
    """``kind`` is one of BUILDERS; ``queries`` {legend: PromQL}; ``limits`` {from which value on: colour}; ``width`` is of 24; ``links``
    {title: address} are those of a value, and may name its columns.
    """

    kind: str
    title: str
    queries: dict[str, str]
    unit: str = "short"
    about: str = ""
    limits: dict[float, str] | None = None
    texts: dict[int, tuple[str, str]] | None = None
    width: int = 6
    links: dict[str, str] | None = None


@dataclass(frozen=True)
class Row:
    """A heading, with the panels below it."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Board:
    """A dashboard: ``variables`` {name: PromQL of its values}, of which the later ones may name the earlier."""

    uid: str
    title: str
    about: str
    variables: dict[str, str]
    rows: tuple[Row, ...]
    since: str = "now-6h"

    def panels(self) -> list[Panel]:
        """All panels, row by row."""
        return [panel for row in self.rows for panel in row.panels]


def built(board: Board) -> models.Dashboard:
    """The dashboard as Grafana takes it."""
    builder = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.about)
        .tags(["slipway"])
        .readonly()
        .refresh("30s")
        .time(board.since, "now")
        .timezone("utc")
    )
    for name, query in board.variables.items():
        builder = builder.with_variable(
            dashboard.QueryVariable(name)
            .label(name)
            .datasource(DATASOURCE)
            .query(query)
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(models.VariableSort.ALPHABETICAL_ASC)
            .multi(True)
            .include_all(True)
            .all_value(".*")
        )
    for row in board.rows:
        builder = builder.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            builder = builder.with_panel(_panel(panel))
    return builder.build()


def _panel(panel: Panel) -> Any:
    builder = (
        BUILDERS[panel.kind]()
        .title(panel.title)
        .description(panel.about)
        .datasource(DATASOURCE)
        .unit(panel.unit)
        .span(panel.width)
        .height(HEIGHT)
        .no_value("-")
    )
    for number, (legend, query) in enumerate(panel.queries.items()):
        asked = (
            prometheus.Dataquery()
            .expr(query)
            .legend_format(legend)
            .ref_id(chr(ord("A") + number))
            .datasource(DATASOURCE)
        )
        builder = builder.with_target(asked.format("table").instant() if panel.kind == "table" else asked)
    steps = [models.Threshold(value=None, color="green")]
    steps += [models.Threshold(value=value, color=colour) for value, colour in sorted((panel.limits or {}).items())]
    builder = builder.thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    if panel.texts:
        options = {
            str(value): models.ValueMappingResult(text=text, color=colour, index=value)
            for value, (text, colour) in panel.texts.items()
        }
        builder = builder.mappings([models.ValueMap(options=options)])
    if panel.links:
        builder = builder.data_links([dashboard.DashboardLink(title).url(url) for title, url in panel.links.items()])
    return builder
