"""The table of all metrics as Markdown, for `server/observability/README.md`."""

from __future__ import annotations

from prometheus_client.metrics import MetricWrapperBase

from server.observability import metrics

PROCESS = "Memory, processor time and open files of the worker that was scraped: of several, one at a time."


def metrics_table() -> str:
    """The table, in the order in which the metrics are defined."""
    rows = ["| metric | labels | what to do with it |", "| --- | --- | --- |"]
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            # The metric classes have no public names for their constructor arguments.
            labels = ", ".join(f"`{label}`" for label in metric._labelnames) or "-"  # noqa: SLF001
            name = f"{metric._name}_total" if metric._type == "counter" else metric._name  # noqa: SLF001
            rows.append(f"| `{name}` | {labels} | {metric._documentation} |")  # noqa: SLF001
    rows.append(f"| `{metrics.SYNC_AGE}` | `table` | {metrics.SYNC_AGE_MEANING} |")
    rows.append(f"| `{metrics.AGE}` | - | {metrics.AGE_MEANING} |")
    rows.append(f"| `process_*` | - | {PROCESS} |")
    return "\n".join(rows)
