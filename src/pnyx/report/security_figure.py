"""One figure of what a network can promise: `pnyx security --plot`, an SVG without scripts.

Left: how likely a study is exposed, by the share of corrupted nodes, for the committee that was
chosen; the aim and the planned share are marked. Right: how many legitimate nodes the region of
each number of signers holds, on average; below the diagonal too few are found.
"""

import math
from collections.abc import Iterable, Sequence

from pnyx.protocol.selection import Assessment, exposure_probability, head_count

_WIDTH, _HEIGHT = 760, 330
_TOP, _BOTTOM = 40, 270
_LEFT_PANEL, _RIGHT_PANEL = (70, 370), (450, 740)
_LOWEST = 1e-12  # what is below is drawn there
_SHARES = tuple(n / 200 for n in range(41))  # 0 to 20 %
_INK, _LINE, _AIM = "#1a1a1a", "#1f5fa8", "#b03a2e"

Point = tuple[float, float]


def security_figure(assessment: Assessment) -> str:
    """Draw an assessment: an SVG document, of numbers and our own words only."""
    parts = [*_exposure_panel(assessment), *_regions_panel(assessment)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="sans-serif" font-size="11" fill="{_INK}" role="img" '
        f'aria-label="What a network of {assessment.nodes} nodes can promise">\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _exposure_panel(a: Assessment) -> Iterable[str]:
    low, high = _LEFT_PANEL

    def x(share: float) -> float:
        return low + (high - low) * min(share, _SHARES[-1]) / _SHARES[-1]

    def y(probability: float) -> float:
        decades = math.log10(max(probability, _LOWEST)) / math.log10(_LOWEST)
        return _TOP + (_BOTTOM - _TOP) * decades

    def exposed(share: float) -> float:
        corrupted = head_count(share, a.nodes)
        return exposure_probability(a.nodes, corrupted, a.committee, a.rounds, groups=a.groups)

    yield _text(low, 22, f"Exposure of a study of {a.rounds} rounds", weight="bold")
    for power in range(0, 13, 3):
        yield _text(low - 8, y(10.0**-power) + 4, f"10^-{power}" if power else "1", "end")
        yield _path([(low, y(10.0**-power)), (high, y(10.0**-power))], "#dddddd")
    for share in (0.0, 0.05, 0.1, 0.15, 0.2):
        yield _text(x(share), _BOTTOM + 18, f"{share:.0%}".replace("%", " %"), "middle")
    yield _path([(low, y(a.alpha)), (high, y(a.alpha))], _AIM, dashed=True)
    yield _text(high, y(a.alpha) - 4, "aim", "end", colour=_AIM)
    yield _path([(x(share), y(exposed(share))) for share in _SHARES], _LINE, width=2)
    planned = a.corrupted / a.nodes
    yield _dot(x(planned), y(a.exposure_probability))
    yield _text((low + high) / 2, _BOTTOM + 36, "corrupted nodes", "middle")
    yield _text(
        (low + high) / 2,
        _BOTTOM + 52,
        f"committee of {a.committee.size}, {a.committee.corrupt_max} tolerated",
        "middle",
    )


def _regions_panel(a: Assessment) -> Iterable[str]:
    low, high = _RIGHT_PANEL
    signers_max = a.regions[-1].signers
    nodes_max = max(1.0, *(min(each.expected_nodes, 4.0 * each.signers) for each in a.regions))

    def x(signers: float) -> float:
        return low + (high - low) * (signers - 1) / signers_max

    def y(nodes: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * min(nodes, nodes_max) / nodes_max

    yield _text(low, 22, "Nodes in a region, by its signers", weight="bold")
    step = max(1, round(nodes_max / 5))
    for nodes in range(0, int(nodes_max) + 1, step):
        yield _text(low - 8, y(nodes) + 4, str(nodes), "end")
        yield _path([(low, y(nodes)), (high, y(nodes))], "#dddddd")
    for each in a.regions[:: max(1, len(a.regions) // 8)]:
        yield _text(x(each.signers), _BOTTOM + 18, str(each.signers), "middle")
    yield _path([(x(k), y(k)) for k in range(1, signers_max + 1)], _AIM, dashed=True)
    yield _path([(x(each.signers), y(each.expected_nodes)) for each in a.regions], _LINE, width=2)
    yield _dot(x(a.region.signers), y(a.region.expected_nodes))
    yield _text((low + high) / 2, _BOTTOM + 36, "signers k_r", "middle")
    yield _text(
        (low + high) / 2,
        _BOTTOM + 52,
        f"in force: {a.region.signers}, in regions of {a.region.expected_nodes:.1f} nodes",
        "middle",
    )


def _text(
    x: float, y: float, words: str, anchor: str = "start", *, weight: str = "", colour: str = _INK
) -> str:
    bold = f' font-weight="{weight}"' if weight else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="{colour}"{bold}>{words}</text>'


def _path(points: Sequence[Point], colour: str, *, width: float = 1, dashed: bool = False) -> str:
    drawn = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path d="{drawn}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes}/>'


def _dot(x: float, y: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{_LINE}"/>'
