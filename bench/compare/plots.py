"""Bars and curves as SVG, with nothing but the standard library."""

import math
from html import escape

COLOURS = {"kafka": "#b0552c", "corelane-1": "#2c6fb0", "corelane-2": "#62a8e5", "bare": "#8a8a8a"}
BAR, GAP, LEFT, WIDTH, TOP = 11, 10, 300, 960, 54


def bars(title: str, unit: str, rows: list[str], series: dict[str, list[float | None]]) -> str:
    """A group of bars for each row, one for each series, on a logarithmic scale if they differ much."""
    values = [value for each in series.values() for value in each if value]
    if not values:
        return ""
    low, high = min(values), max(values)
    is_logarithmic = high / low > 50
    floor = 10 ** math.floor(math.log10(low)) if is_logarithmic else 0
    room = WIDTH - LEFT - 90

    def length(value: float) -> float:
        if is_logarithmic:
            span = math.log10(high) - math.log10(floor) or 1
            return max((math.log10(value) - math.log10(floor)) / span * room, 1)
        return max(value / high * room, 1)

    group = len(series) * BAR + GAP
    height = TOP + len(rows) * group + 10
    scale = ", logarithmic" if is_logarithmic else ""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="20" font-size="15" fill="#202020">{escape(title)} ({escape(unit)}{scale})</text>',
    ]
    x = 10
    for kind in series:
        parts.append(f'<rect x="{x}" y="30" width="11" height="11" fill="{COLOURS.get(kind, "#444444")}"/>')
        parts.append(f'<text x="{x + 16}" y="40" fill="#202020">{escape(kind)}</text>')
        x += 34 + 7 * len(kind)
    for index, row in enumerate(rows):
        y = TOP + index * group
        parts.append(f'<text x="{LEFT - 8}" y="{y + group / 2 - 1}" text-anchor="end" fill="#202020">{escape(row)}</text>')
        for place, (kind, of_kind) in enumerate(series.items()):
            value = of_kind[index]
            if not value:
                continue
            top = y + place * BAR
            parts.append(f'<rect x="{LEFT}" y="{top}" width="{length(value):.1f}" height="{BAR - 1}" fill="{COLOURS.get(kind, "#444444")}"/>')
            parts.append(f'<text x="{LEFT + length(value) + 5:.1f}" y="{top + 9}" font-size="10" fill="#404040">{value:,.4g}</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def curves(title: str, unit: str, places: list[str], series: dict[str, list[float | None]]) -> str:
    """A line for each series over named places, on a logarithmic scale."""
    values = [value for each in series.values() for value in each if value]
    if not values:
        return ""
    width, height, left, top, bottom = 640, 360, 70, 56, 32
    lowest, highest = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    highest = max(highest, lowest + 1)

    def x(index: int) -> float:
        return left + 20 + index * (width - left - 60) / max(len(places) - 1, 1)

    def y(value: float) -> float:
        return height - bottom - (math.log10(value) - lowest) / (highest - lowest) * (height - bottom - top)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="20" font-size="15" fill="#202020">{escape(title)} ({escape(unit)}, logarithmic)</text>',
    ]
    for power in range(lowest, highest + 1):
        parts.append(f'<line x1="{left}" x2="{width - 20}" y1="{y(10.0**power):.1f}" y2="{y(10.0**power):.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y(10.0**power) + 4:.1f}" text-anchor="end" fill="#404040">{10.0**power:g}</text>')
    for index, place in enumerate(places):
        parts.append(f'<text x="{x(index):.1f}" y="{height - 10}" text-anchor="middle" fill="#404040">{escape(place)}</text>')
    key = 10
    for kind, of_kind in series.items():
        colour = COLOURS.get(kind, "#444444")
        points = " ".join(f"{x(index):.1f},{y(value):.1f}" for index, value in enumerate(of_kind) if value)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<rect x="{key}" y="30" width="11" height="11" fill="{colour}"/>')
        parts.append(f'<text x="{key + 16}" y="40" fill="#202020">{escape(kind)}</text>')
        key += 34 + 7 * len(kind)
    parts.append("</svg>")
    return "\n".join(parts) + "\n"
