"""Plots as inline SVG: horizontal bars with spread, and lines over a logarithmic axis."""

import math
from html import escape

BAR_HEIGHT, GAP, LABEL_WIDTH, PLOT_WIDTH, VALUE_WIDTH = 18, 6, 150, 320, 130
LINE_COLOURS = ("#5b6b7b", "#9a6b3f", "#7a9a3f", "#a65f8f", "#3f8f9a", "#b0a030", "#8f4f4f", "#6f6fb0", "#50a070",
                "#1463c8", "#d0382b")


def number(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", "\u202f")
    return f"{value:.3g}"


def bars(row: dict[str, dict], order: list[str], unit: str, smaller_is_better: bool) -> str:
    """One bar per system with its median; a thin line from the lowest to the highest round."""
    shown = [name for name in order if name in row]
    values = [row[name]["high"] for name in shown] + [row[name]["median"] for name in shown]
    top = max(values) or 1.0
    lowest = min((row[name]["median"] for name in shown if row[name]["median"] > 0), default=top)
    logarithmic = top / lowest > 30
    floor = 10 ** math.floor(math.log10(lowest)) / 2 if logarithmic else 0.0

    def place(value: float) -> float:
        if logarithmic:
            share = math.log(max(value, floor) / floor) / math.log(top / floor)
        else:
            share = value / top
        return max(0.0, min(1.0, share)) * PLOT_WIDTH

    height = len(shown) * (BAR_HEIGHT + GAP) + GAP + 16
    width = LABEL_WIDTH + PLOT_WIDTH + VALUE_WIDTH
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" width="{width}" height="{height}">']
    for index, name in enumerate(shown):
        cell = row[name]
        y = GAP + index * (BAR_HEIGHT + GAP)
        middle = y + BAR_HEIGHT / 2
        kind = "own" if name.startswith("qanat") else "peer"
        parts.append(f'<text x="{LABEL_WIDTH - 8}" y="{middle + 4}" class="label" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect x="{LABEL_WIDTH}" y="{y}" width="{place(cell["median"]):.1f}" height="{BAR_HEIGHT}" rx="2" '
                     f'class="{kind}"/>')
        if cell["count"] > 1:
            low, high = LABEL_WIDTH + place(cell["low"]), LABEL_WIDTH + place(cell["high"])
            parts.append(f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8" '
                         'class="spread"/>')
        ratio = f"  ×{cell['ratio']:.2f}" if cell.get("ratio") is not None else ""
        end = LABEL_WIDTH + max(place(cell["median"]), place(cell["high"]) if cell["count"] > 1 else 0)
        parts.append(f'<text x="{end + 6:.1f}" y="{middle + 4}" class="value">{number(cell["median"])}{ratio}</text>')
    better = "shorter is better" if smaller_is_better else "longer is better"
    scale = ", logarithmic" if logarithmic else ""
    parts.append(f'<text x="{LABEL_WIDTH}" y="{height - 3}" class="note">{escape(unit)}; {better}{scale}</text></svg>')
    return "".join(parts)


def lines(series: dict[str, list[tuple[float, float]]], x_title: str, y_title: str) -> str:
    """Medians over a logarithmic x axis, from 0 or logarithmic on the y axis."""
    points = [point for line in series.values() for point in line]
    if len({x for x, _ in points}) < 2:
        return ""
    left, top_margin, plot_width, plot_height, bottom = 56, 12, 350, 220, 38
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    y_values = [y for _, y in points if y > 0]
    y_low, y_high = min(y_values, default=1), max(y_values, default=1)
    logarithmic = y_high / y_low > 20
    y_base = 10 ** math.floor(math.log10(y_low)) if logarithmic else 0.0
    y_top = y_high * (1.15 if not logarithmic else 1.4)

    def x_at(x: float) -> float:
        return left + math.log(x / x_low) / math.log(x_high / x_low) * plot_width

    def y_at(y: float) -> float:
        share = math.log(max(y, y_base) / y_base) / math.log(y_top / y_base) if logarithmic else y / y_top
        return top_margin + (1 - share) * plot_height

    width, height = left + plot_width + 190, top_margin + plot_height + bottom
    height = max(height, top_margin + 18 * len(series) + 8)
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" width="{width}" height="{height}">']
    for tick in y_ticks(y_base, y_top, logarithmic):
        y = y_at(tick)
        parts.append(f'<path d="M{left} {y:.1f}h{plot_width}" class="grid"/>'
                     f'<text x="{left - 6}" y="{y + 4:.1f}" class="note" text-anchor="end">{number(tick)}</text>')
    for x in sorted({x for x, _ in points}):
        parts.append(f'<path d="M{x_at(x):.1f} {top_margin}v{plot_height}" class="grid"/><text x="{x_at(x):.1f}" '
                     f'y="{top_margin + plot_height + 15}" class="note" text-anchor="middle">{number(x)}</text>')
    for index, (name, line) in enumerate(series.items()):
        colour = LINE_COLOURS[index % len(LINE_COLOURS)]
        if name.startswith("qanat"):
            colour = "#d0382b" if name == "qanat-chain" else "#e08a1e"
        stroke = 2.6 if name.startswith("qanat") else 1.4
        path = " ".join(f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in sorted(line))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{stroke}"/>')
        parts += [f'<circle cx="{x_at(x):.1f}" cy="{y_at(y):.1f}" r="2.6" fill="{colour}"/>' for x, y in line]
        y = top_margin + 14 + 18 * index
        parts.append(f'<path d="M{left + plot_width + 14} {y - 4}h18" stroke="{colour}" stroke-width="{stroke}"/>'
                     f'<text x="{left + plot_width + 38}" y="{y}" class="label">{escape(name)}</text>')
    scale = ", logarithmic" if logarithmic else ""
    parts.append(f'<text x="{left}" y="{top_margin + plot_height + 32}" class="note">{escape(y_title)}{scale}, over '
                 f'{escape(x_title)}</text></svg>')
    return "".join(parts)


def y_ticks(base: float, top: float, logarithmic: bool) -> list[float]:
    if logarithmic:
        first, last = math.floor(math.log10(base)), math.floor(math.log10(top))
        return [10.0**power for power in range(first, last + 1)]
    step = 10 ** math.floor(math.log10(top))
    step = next(step * factor for factor in (0.1, 0.2, 0.5, 1, 2) if top / (step * factor) <= 6)
    return [step * index for index in range(int(top / step) + 1)]
