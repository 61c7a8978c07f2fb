"""The report: what was to be reached, the machine's limits, every suite with ratios, plots, what everybody was told."""

from pathlib import Path

import goals
import limits
import plots
from loads import LATENCIES
from results import METRICS, Results
from suites import SUITES

# What is plotted of a suite, where there is more than one row or metric to see.
PLOTTED = {
    "produce": ["throughput", "cpu"],
    "consume": ["throughput", "cpu"],
    "strict": ["records"],
    "transactions": ["records"],
    "partitions": ["start", "memory", "throughput"],
    "restart": ["start"],
    "connections": ["memory"],
}


def write(results: Results, directory: Path, name: str) -> Path:
    """Writes NAME.md and its plots beside it."""
    lines = [f"# Corelane beside Apache Kafka 4.3.1, {results.date}", "", *introduction(results, name), ""]
    settings = results.settings
    lines += ["## What to reach", "", *goals.table(results, tuple(settings["partitions"]), settings["connections"]), ""]
    lines += ["## The machine's own limits", "", *limit_table(results), ""]
    for suite in results.suites():
        lines += [f"## {suite}: {SUITES[suite].about}", "", *suite_table(results, suite), ""]
        for metric in PLOTTED.get(suite, []):
            plot = suite_plot(results, suite, metric)
            if plot:
                path = f"{name}-{suite}-{metric}.svg"
                (directory / path).write_text(plot)
                lines += [f"![{suite}, {METRICS[metric][0]}]({path})", ""]
        for index, row in enumerate(results.rows(suite)):
            plot = percentile_plot(results, suite, row)
            if plot:
                path = f"{name}-{suite}-percentiles-{index + 1}.svg"
                (directory / path).write_text(plot)
                lines += [f"![{suite}, {row}: latency by percentile]({path})", ""]
    lines += told_each(results)
    path = directory / f"{name}.md"
    path.write_text("\n".join(lines).rstrip() + "\n")
    return path


def write_variants(results: Results, directory: Path, name: str) -> Path:
    """Writes NAME.md: what became of the figures between builds or settings of ours."""
    told = ", ".join(f"{key} {value}" for key, value in results.settings.items())
    lines = [
        f"# {' and '.join(results.variants)}, {results.date}",
        "",
        f"Commit {results.commit}. {results.machine}. Medians of {results.rounds()} alternations (least–most), load and broker on the",
        "same cores, the same client for all. CPU is user and system time of the broker's process.",
        f"Made by `bench/compare/run` ({told}); every single figure is in `{name}.json`.",
        "",
    ]
    for suite in results.suites():
        lines += [f"## {suite}: {SUITES[suite].about}", "", *variant_table(results, suite), ""]
    lines += told_each(results)
    path = directory / f"{name}.md"
    path.write_text("\n".join(lines).rstrip() + "\n")
    return path


def variant_table(results: Results, suite: str) -> list[str]:
    first, *others = results.variants
    columns = [*results.variants, *(f"{other} / {first}" for other in others)]
    lines = ["| row | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for row in results.rows(suite):
        for metric, (unit, less_is_better) in METRICS.items():
            medians = [results.median(suite, row, kind, metric) for kind in results.variants]
            if all(value is None for value in medians):
                continue
            cells = [cell(results, suite, row, kind, metric) for kind in results.variants]
            cells += [ratio(value, medians[0], True, less_is_better) for value in medians[1:]]
            lines.append(f"| {row}: {unit} | " + " | ".join(cells) + " |")
    return lines


def told_each(results: Results) -> list[str]:
    lines = ["## What each was told", ""]
    for who, told in results.configurations.items():
        lines += [f"{who}:", "", *(f"    {line}" for line in told.strip().splitlines()), ""]
    return lines


def introduction(results: Results, name: str) -> list[str]:
    told = ", ".join(f"{key} {value}" for key, value in results.settings.items())
    quick = ["**A quick run: it shows that everything works, and measures nothing.**", ""] if results.settings.get("quick") else []
    return [
        *quick,
        f"Commit {results.commit}. {results.machine}. Medians of {results.rounds()} alternations (least–most); load and broker share",
        "the cores. Default settings on both sides but for what a row names; Kafka has -Xms1G -Xmx1G and is warmed. CPU is user and",
        "system time of the broker's process, memory its VmHWM. *bare* is `corelane perf sink`, which does the least that the same",
        "client can be given and is no broker; *limit* is what the same bytes cost the machine where nothing is decided about them.",
        f"Ratios are to the medians of the same run. Made by `bench/compare/run` ({told}); every single figure is in `{name}.json`.",
    ]


def limit_table(results: Results) -> list[str]:
    lines = ["| limit | median | least–most |", "| --- | ---: | ---: |"]
    for name, about, unit in limits.SHOWN:
        values = [each[name] for each in results.limits if name in each]
        if values:
            lines.append(f"| {about}, {unit} | {results.median_limits()[name]:,.4g} | {min(values):,.4g}–{max(values):,.4g} |")
    return lines


def suite_table(results: Results, suite: str) -> list[str]:
    present = {each.kind for each in results.measurements if each.suite == suite}
    kinds = [kind for kind in results.kinds() if kind in present]
    ours = [kind for kind in kinds if kind.startswith("corelane")]
    ratios = [f"{kind} / {other}" for other in ("kafka", "bare") if other in kinds for kind in ours]
    machine = results.median_limits()
    with_limit = any(limits.bound(machine, suite, row, metric) for row in results.rows(suite) for metric in METRICS)
    ratios += [f"{kind} / limit" for kind in ours] if with_limit else []
    lines = ["| row | " + " | ".join([*kinds, *ratios]) + " |", "| --- |" + " ---: |" * (len(kinds) + len(ratios))]
    for row in results.rows(suite):
        for metric, (unit, less_is_better) in METRICS.items():
            medians = {kind: results.median(suite, row, kind, metric) for kind in kinds}
            if all(value is None for value in medians.values()):
                continue
            cells = [cell(results, suite, row, kind, metric) for kind in kinds]
            for other in ("kafka", "bare"):
                if other in kinds:
                    cells += [ratio(medians[kind], medians[other], other == "kafka", less_is_better) for kind in ours]
            if with_limit:
                bound = limits.bound(machine, suite, row, metric)
                cells += [ratio(medians[kind], bound, False, less_is_better) for kind in ours]
            lines.append(f"| {row}: {unit} | " + " | ".join(cells) + " |")
    return lines


def cell(results: Results, suite: str, row: str, kind: str, metric: str) -> str:
    values = results.values(suite, row, kind, metric)
    if not values:
        return ""
    return f"{results.median(suite, row, kind, metric):,.4g} ({min(values):,.4g}–{max(values):,.4g})"


def ratio(ours: float | None, theirs: float | None, is_race: bool, less_is_better: bool) -> str:
    if ours is None or not theirs:
        return ""
    value = ours / theirs
    is_worse = is_race and (value > 1 if less_is_better else value < 1)
    return f"{value:.3g}" + (" (worse)" if is_worse else "")


def suite_plot(results: Results, suite: str, metric: str) -> str:
    rows = [row for row in results.rows(suite) if any(results.values(suite, row, kind, metric) for kind in results.kinds())]
    series = {kind: [results.median(suite, row, kind, metric) for row in rows] for kind in results.kinds()}
    series = {kind: values for kind, values in series.items() if any(values)}
    return plots.bars(SUITES[suite].about, METRICS[metric][0], rows, series) if series else ""


def percentile_plot(results: Results, suite: str, row: str) -> str:
    """Latency by percentile; every kind that has them."""
    percentiles = [metric for metric in METRICS if metric in LATENCIES]
    series = {kind: [results.median(suite, row, kind, metric) for metric in percentiles] for kind in results.kinds()}
    series = {kind: values for kind, values in series.items() if any(values)}
    names = [METRICS[metric][0].removesuffix(", ms") for metric in percentiles]
    return plots.curves(row, "ms", names, series) if series else ""
