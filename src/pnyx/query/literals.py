"""What must stand in a query as it is: numbers and texts, parts of times, frames of windows.

All raise QueryError for anything else.
"""

from sqlglot import exp

from pnyx.errors import QueryError
from pnyx.query.functions import PARTS
from pnyx.query.grammar import parts, shown

TEXT_MAX = 200  # characters of a literal
WHOLE_DIGITS_MAX = 9


def whole(node: exp.Expression) -> int:
    """A whole number written as a literal."""
    text, is_string = parts(node, "this", "is_string") if isinstance(node, exp.Literal) else ("", 1)
    if is_string or not text.isdecimal() or not text.isascii() or len(text) > WHOLE_DIGITS_MAX:
        raise QueryError(
            f"{shown(node.sql() or _kind(node))} must be a whole number of at most "
            f"{WHOLE_DIGITS_MAX} digits, written out and without a sign."
        )
    return int(text)


def _kind(node: exp.Expression) -> str:
    return type(node).__name__


def quoted(node: exp.Expression) -> str:
    """SQL of a text written as a literal."""
    if not isinstance(node, exp.Literal) or not node.is_string:
        raise QueryError("The pattern of a LIKE is a text in quotes.")
    if len(node.name) > TEXT_MAX:
        raise QueryError(f"The text {shown(node.name)} is longer than {TEXT_MAX}: shorten it.")
    return "'" + node.name.replace("'", "''") + "'"


def constant(node: exp.Expression) -> None:
    """Refuse an argument that is no number, with or without a sign."""
    inner = node.this if isinstance(node, exp.Neg) else node
    if not isinstance(inner, exp.Literal) or inner.is_string:
        raise QueryError(f"{shown(node.name or _kind(node))} must be a number, not computed.")


def date_part(name: str) -> str:
    """A part of a time, as DuckDB names it."""
    part = name.lower()
    if part not in PARTS:
        raise QueryError(f"{shown(name)} is no part of a time; parts are {', '.join(PARTS)}.")
    return part


def frame(spec: exp.Expression) -> str:
    """The frame of a window."""
    kind, start, start_side, end, end_side = parts(
        spec, "kind", "start", "start_side", "end", "end_side"
    )
    if kind.upper() not in ("ROWS", "RANGE"):
        raise QueryError("The frame of a window is given in ROWS or RANGE.")
    first = _edge(start, start_side)
    last = "CURRENT ROW" if end is None else _edge(end, end_side)
    return f"{kind.upper()} BETWEEN {first} AND {last}"


def _edge(edge: exp.Expression | str, side: str | None) -> str:
    if edge == "CURRENT ROW":
        return "CURRENT ROW"
    direction = (side or "").upper()
    if direction not in ("PRECEDING", "FOLLOWING"):
        raise QueryError("The frame of a window ends at rows PRECEDING or FOLLOWING.")
    if edge == "UNBOUNDED":
        return f"UNBOUNDED {direction}"
    if isinstance(edge, str):
        raise QueryError("The frame of a window is bounded by whole numbers.")
    return f"{whole(edge)} {direction}"
