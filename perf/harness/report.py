"""The HTML report: one file, no script, nothing loaded from anywhere."""

from html import escape

from . import plots
from .measurements import BY_NAME

STYLE = """
:root { --text: #1b2430; --faint: #66727f; --back: #ffffff; --line: #d9dfe5; --own: #d0382b; --peer: #8fa3b5; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6eaee; --faint: #9aa7b3; --back: #14181d; --line: #2d353d; --own: #ef6a5c; --peer: #5d7284; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); max-width: 1240px;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { margin-top: 2.4rem; font-size: 1.25rem;
     border-bottom: 1px solid var(--line); } h3 { font-size: 1rem; margin: 1.4rem 0 .2rem; }
p, li { max-width: 46rem; } .faint { color: var(--faint); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } .wide { overflow-x: auto; }
td, th { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
td:first-child, th:first-child { text-align: left; } th { font-weight: 600; vertical-align: bottom; }
tr.own td { font-weight: 600; color: var(--own); }
svg { max-width: 100%; height: auto; display: block; } svg text { font: 12px system-ui, sans-serif; fill: var(--text); }
svg .note { fill: var(--faint); font-size: 11px; } svg .own { fill: var(--own); } svg .peer { fill: var(--peer); }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(520px, 1fr)); gap: .6rem 1.2rem; }
svg .spread { stroke: var(--text); stroke-width: 1; fill: none; } svg .grid { stroke: var(--line); fill: none; }
"""

# measurement, beginning of the figure's title, heading of the overview's column
OVERVIEW = (("bulk-down-4", "CPU", "bulk down<br>s/GB"), ("bulk-up-4", "CPU", "bulk up<br>s/GB"),
            ("crr-16", "CPU", "connection<br>CPU µs"), ("round-trip", "p50", "round trip<br>p50 µs"),
            ("round-trip", "p99 ", "round trip<br>p99 µs"), ("mixed-paced", "p50", "beside 1 Gbit/s<br>p50 µs"),
            ("mixed-down", "p50", "beside bulk<br>p50 µs"), ("idle-1000", "memory", "idle stream<br>KiB"),
            ("first-byte-20", "median", "first byte<br>at 20 ms, ms"))
HEADINGS = {"crr": "connections: connect, request, response, close", "latency": "round trips", "mixed": "mixed load",
            "idle": "idle streams", "active": "from one to ten thousand active streams",
            "first byte": "time to first byte on a long line"}
X_TITLES = {"bulk down": "bulk streams", "bulk up": "bulk streams", "active": "active streams"}


def figure_of(document: dict, measurement: str, beginning: str) -> dict | None:
    for title, row in document["summary"].get(measurement, {}).items():
        if title.startswith(beginning):
            return row
    return None


def render(document: dict) -> str:
    about = document["machine"]
    order = list(document["systems"])
    noisy = sum(1 for sample in document["samples"] if sample["others"] > 0.1)
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>Qanat and its peers</title>"
             f"<meta name=viewport content='width=device-width'><style>{STYLE}</style>",
             "<h1>Qanat and its peers</h1>",
             f"<p class=faint>{escape(document['when'])} · {escape(about['cpu'])}, {about['cores']} cores"
             f"{', virtual machine' if about['virtual'] else ''} · Linux {escape(about['kernel'])}, "
             f"{escape(about['congestion_control'])} · commit {escape(about['commit'])} · {document['settings']['rounds']} rounds</p>",
             "<p>Every system was measured by the same load generator, in turn, on one core of its own; both sides of a "
             "chain share that core. A ratio (×) is to HAProxy in TCP mode, one plain hop that copies and encrypts "
             "nothing. Every byte that arrived was checked.</p>"]
    if noisy:
        parts.append(f"<p><b>{noisy} of {len(document['samples'])} samples</b> were taken while other programs used more "
                     "than a tenth of the systems' core. Believe large differences only.</p>")
    parts.append(_overview(document, order))
    parts.append(_systems(document))
    done: set[str] = set()
    for name in document["summary"]:
        measurement = BY_NAME.get(name)
        if measurement is None or name in done:
            continue
        group = [other for other in document["summary"]
                 if other in BY_NAME and measurement.group and BY_NAME[other].group == measurement.group] or [name]
        done.update(group)
        parts.append(_group(document, order, measurement.group or name, group))
    if document["problems"]:
        parts.append("<h2>Problems</h2><ul>" + "".join(f"<li>{escape(one)}" for one in document["problems"]) + "</ul>")
    return "\n".join(parts) + "\n"


def _overview(document: dict, order: list[str]) -> str:
    columns = [(heading, row) for name, beginning, heading in OVERVIEW if (row := figure_of(document, name, beginning))]
    if not columns:
        return ""
    head = "".join(f"<th>{heading}" for heading, _ in columns)
    rows = []
    for system in order:
        cells = "".join(f"<td>{plots.number(row[system]['median']) if system in row else '–'}" for _, row in columns)
        rows.append(f"<tr{' class=own' if system.startswith('qanat') else ''}><td>{escape(system)}{cells}")
    return f"<h2>Overview (medians)</h2><div class=wide><table><tr><th>{head}{''.join(rows)}</table></div>"


def _systems(document: dict) -> str:
    rows = "".join(f"<tr><td>{escape(name)}<td style='text-align:left'>{escape(system['title'])}"
                   f"<td style='text-align:left'>{escape(system['kind'])}"
                   f"<td style='text-align:left' class=faint>{escape(', '.join(filter(None, dict.fromkeys(system['versions']))))}"
                   for name, system in document["systems"].items())
    return f"<h2>Systems</h2><div class=wide><table>{rows}</table></div>"


def _group(document: dict, order: list[str], title: str, names: list[str]) -> str:
    heading = HEADINGS.get(title, title)
    parts = [f"<h2>{escape(heading[0].upper() + heading[1:])}</h2>"]
    plotted = title in X_TITLES and len(names) > 1
    if plotted:
        parts.append(f"<div class=pair>{''.join(_growth(document, order, X_TITLES[title], names))}</div>")
    for name in names:
        measurement = BY_NAME[name]
        rows = document["summary"][name]
        shown = [figure for figure in measurement.figures
                 if f"{figure.title} ({figure.unit})" in rows and (figure.in_table or figure.title == "p99.9")]
        if plotted and name not in ("bulk-down-4", "bulk-up-4"):
            continue
        parts.append(f"<h3>{escape(measurement.title)}</h3>")
        drawn = [plots.bars(rows[f"{figure.title} ({figure.unit})"], order, f"{figure.title}, {figure.unit}",
                            figure.smaller_is_better) for figure in shown]
        parts.append(f"<div class=pair>{''.join(drawn)}</div>")
    return "\n".join(parts)


def _growth(document: dict, order: list[str], x_title: str, names: list[str]) -> list[str]:
    plotted = []
    for figure in BY_NAME[names[0]].figures:
        if not figure.in_table:
            continue
        title = f"{figure.title} ({figure.unit})"
        series = {}
        for system in order:
            line = [(BY_NAME[name].x, row[system]["median"]) for name in names
                    if (row := document["summary"][name].get(title)) and system in row]
            if len(line) > 1:
                series[system] = line
        if series and (svg := plots.lines(series, x_title, f"{figure.title}, {figure.unit}")):
            plotted.append(svg)
    return plotted

