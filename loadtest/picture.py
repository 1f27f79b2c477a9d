"""The percentiles of a run as an SVG: legible on light and dark ground, no library needed."""

from __future__ import annotations

import math
from html import escape

from loadtest.report import Ages, Report

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 50, 60
# The further right, the rarer: a step for every further nine, as in 90, 99, 99.9 %.
SHARES = (0, 50, 90, 99, 99.9, 99.99)
RESULTS_MAX = 2
COLOURS = ("#2f81f7", "#d29922", "#2da44e", "#cf222e", "#a371f7", "#1b7c83")
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #57606a; }
  .title { font-size: 16px; font-weight: 600; fill: #24292f; }
  .grid { stroke: #8b949e; stroke-opacity: .3; }
  .line { fill: none; stroke-width: 2.5; stroke-linejoin: round; }
  .floor { stroke-dasharray: 6 5; stroke-width: 2; }
  @media (prefers-color-scheme: dark) { text { fill: #9da7b3; } .title { fill: #e6edf3; } }
"""


def draw(report: Report, title: str = "Publish to receive") -> str:
    """The picture of the results that have ages: the hub's line, and the floor's dashed.

    Of more than RESULTS_MAX only the scenario `latency` is shown.
    """
    shown = [each for each in report.results if each.hub_ages]
    if len(shown) > RESULTS_MAX:
        shown = [each for each in shown if each.scenario == "latency"]
    lines = [
        (f"{result.scenario}, {name}", ages, name != "hub", COLOURS[nth % len(COLOURS)])
        for nth, result in enumerate(shown)
        for name, ages in (("hub", result.hub_ages), (report.floor, result.floor_ages))
        if ages
    ]
    low, high = _decades([ms for _, ages, _, _ in lines for _, ms in ages])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}, percentiles in milliseconds</title>",
        f"<style>{_STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>',
        *_grid(low, high),
        *(_line(ages, low, high, dashed, colour) for _, ages, dashed, colour in lines),
        *_legend([(name, dashed, colour) for name, _, dashed, colour in lines]),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _decades(values: list[float]) -> tuple[int, int]:
    """The powers of ten that hold all values; from 0.1 to 100 ms when there are none."""
    found = [value for value in values if value > 0]
    if not found:
        return -1, 2
    low = math.floor(math.log10(min(found)))
    return low, max(low + 1, math.ceil(math.log10(max(found))))


def _x(share: float) -> float:
    """0 % is left, every further nine the same step to the right."""
    most = -math.log10(1 - SHARES[-1] / 100)
    nines = min(-math.log10(max(1 - share / 100, 1e-9)), most)
    return LEFT + (WIDTH - LEFT - RIGHT) * nines / most


def _y(ms: float, low: int, high: int) -> float:
    height = HEIGHT - TOP - BOTTOM
    return TOP + height * (1 - (math.log10(max(ms, 10.0**low)) - low) / (high - low))


def _grid(low: int, high: int) -> list[str]:
    parts = []
    for power in range(low, high + 1):
        y = _y(10.0**power, low, high)
        line = f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        text = f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g} ms</text>'
        parts += [line, text]
    for share in SHARES:
        x, foot = _x(share), HEIGHT - BOTTOM
        line = f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{foot}"/>'
        text = f'<text x="{x:.1f}" y="{foot + 18}" text-anchor="middle">{share:g} %</text>'
        parts += [line, text]
    return parts


def _line(ages: Ages, low: int, high: int, dashed: bool, colour: str) -> str:
    points = " ".join(f"{_x(share):.1f},{_y(ms, low, high):.1f}" for share, ms in ages)
    kind = "line floor" if dashed else "line"
    return f'<polyline class="{kind}" stroke="{colour}" points="{points}"/>'


def _legend(lines: list[tuple[str, bool, str]]) -> list[str]:
    parts = []
    step = (WIDTH - LEFT - RIGHT) / max(len(lines), 1)
    for nth, (name, dashed, colour) in enumerate(lines):
        x, y = LEFT + nth * step, HEIGHT - 14
        kind = "line floor" if dashed else "line"
        ends = f'x1="{x:.0f}" x2="{x + 26:.0f}" y1="{y - 4}" y2="{y - 4}"'
        parts.append(f'<line class="{kind}" stroke="{colour}" {ends}/>')
        parts.append(f'<text x="{x + 32:.0f}" y="{y}">{escape(name)}</text>')
    return parts
