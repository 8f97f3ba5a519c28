"""Medians, spread and ratios of the samples, and the table that is printed."""

import statistics

from .measurements import Figure, Measurement
from .runner import Results, value_of
from .systems import REFERENCE, System


def summarise(results: Results, systems: list[System], measurements: list[Measurement]) -> dict:
    """{measurement: {figure title: {system: {median, low, high, count, ratio}}}}; ratio is to the reference system."""
    summary: dict = {}
    for measurement in measurements:
        for figure in measurement.figures:
            row: dict = {}
            for system in systems:
                values = sorted(value * figure.scale for sample in results.samples
                                if sample["system"] == system.name and sample["measurement"] == measurement.name
                                and (value := value_of(sample, figure.path)) is not None)
                if values:
                    row[system.name] = {"median": statistics.median(values), "low": values[0], "high": values[-1],
                                        "count": len(values)}
            reference = row.get(REFERENCE, {}).get("median")
            for cell in row.values():
                cell["ratio"] = cell["median"] / reference if reference else None
            if row:
                summary.setdefault(measurement.name, {})[f"{figure.title} ({figure.unit})"] = row
    return summary


def split(results: Results, measurement: str, system: str) -> dict[str, float]:
    """CPU seconds of the window by part, added up over the rounds: what the client and what the exit costs."""
    parts: dict[str, float] = {}
    for sample in results.samples:
        if sample["system"] == system and sample["measurement"] == measurement and sample["ok"]:
            for label, seconds in sample["result"].get("cpu_seconds_by_part", {}).items():
                parts[label] = parts.get(label, 0.0) + seconds
    return parts


def number(value: float) -> str:
    if value != value:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def table(summary: dict, systems: list[System], measurements: list[Measurement]) -> str:
    lines = []
    for measurement in measurements:
        rows = summary.get(measurement.name)
        if not rows:
            continue
        shown = [figure for figure in measurement.figures if figure.in_table and title(figure) in rows]
        if not shown:
            continue
        lines += ["", measurement.title]
        header = f"  {'':22}"
        for figure in shown:
            header += f"{figure.title + ' ' + figure.unit:>14} {'min–max':>17} {'ratio':>7}"
        lines.append(header)
        for system in systems:
            cells = [rows[title(figure)].get(system.name) for figure in shown]
            if not any(cells):
                continue
            line = f"  {system.name:22}"
            for cell in cells:
                if not cell:
                    line += f"{'–':>14} {'':>17} {'':>7}"
                    continue
                spread = f"{number(cell['low'])}–{number(cell['high'])}" if cell["count"] > 1 else ""
                ratio = f"{cell['ratio']:.2f}" if cell["ratio"] is not None else ""
                line += f"{number(cell['median']):>14} {spread:>17} {ratio:>7}"
            lines.append(line)
    return "\n".join(lines)


def title(figure: Figure) -> str:
    return f"{figure.title} ({figure.unit})"


def split_table(results: Results, systems: list[System], measurements: list[Measurement]) -> str:
    """How the cost of a chain is shared between its two sides: each of them alone."""
    lines = []
    for measurement in measurements:
        for system in systems:
            parts = split(results, measurement.name, system.name)
            roots = {label: seconds for label, seconds in parts.items() if "/" not in label}
            if len(roots) < 2 or measurement.name not in ("bulk-down-4", "bulk-up-4", "crr-16", "round-trip"):
                continue
            total = sum(roots.values())
            shares = ", ".join(f"{label} {seconds / total:.0%}" for label, seconds in sorted(roots.items())) if total else ""
            programs = ", ".join(f"{label} {seconds / total:.0%}" for label, seconds in sorted(parts.items())
                                 if "/" in label and total and seconds / total >= 0.005)
            lines.append(f"  {measurement.name:12} {system.name:22} {shares}   ({programs})")
    return "\n".join(["", "CPU by side", *lines]) if lines else ""
