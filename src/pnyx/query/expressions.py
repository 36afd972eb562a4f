"""The expressions of a feature query, each node written anew as SQL of our own.

A node without a writer here, or with a part that its writer does not name, is refused.
"""

import re
from collections.abc import Callable

import msgspec
from sqlglot import exp

from pnyx.errors import QueryError
from pnyx.query.functions import DATED, FUNCTIONS, Function
from pnyx.query.grammar import parts, refused, shown
from pnyx.query.literals import constant, date_part, frame, quoted, whole

DEPTH_MAX = 100  # of expressions, and of selects within selects
LIST_MAX = 256  # values of an IN, branches of a CASE
WILDCARDS_MAX = 4  # of a LIKE
_NUMBER = re.compile(r"(\d{1,18}|\d{1,20}\.\d{0,20}|\.\d{1,20})([eE][+-]?\d{1,3})?", re.ASCII)

_BINARY: dict[type[exp.Expression], str] = {
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
    exp.IntDiv: "//",
    exp.Mod: "%",
    exp.Pow: "**",
    exp.And: "AND",
    exp.Or: "OR",
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.NullSafeEQ: "IS NOT DISTINCT FROM",
    exp.NullSafeNEQ: "IS DISTINCT FROM",
}
_TYPES = {
    exp.DType.DOUBLE: "DOUBLE",
    exp.DType.BIGINT: "BIGINT",
    exp.DType.INT: "INTEGER",
    exp.DType.BOOLEAN: "BOOLEAN",
    exp.DType.DATE: "DATE",
    exp.DType.TIMESTAMP: "TIMESTAMP",
    exp.DType.TIMESTAMPNTZ: "TIMESTAMP",
}


class Source(msgspec.Struct):
    """What a select reads: its FROM clause, and how its names are written.

    columns: name -> SQL name; of the collection they are added as they are met (`open`).
    """

    clause: str
    names: frozenset[str]  # that may qualify a column
    columns: dict[str, str]
    open: bool = False


class Select(msgspec.Struct):
    """One select being written: its source, and the outputs that it names with AS."""

    source: Source
    aliases: dict[str, int] = {}


class ExpressionWriter:
    """Writes expressions; the columns of the collection that it meets join their source."""

    def __init__(self) -> None:
        self._depth = 0
        self._writers: dict[type[exp.Expression], Callable[[exp.Expression, Select], str]] = {
            exp.Column: self._column,
            exp.Literal: self._literal,
            exp.Boolean: self._boolean,
            exp.Null: self._null,
            exp.Paren: self._paren,
            exp.Neg: self._negative,
            exp.Not: self._not,
            exp.Is: self._is,
            exp.In: self._in,
            exp.Between: self._between,
            exp.Like: self._like,
            exp.ILike: self._like,
            exp.Case: self._case,
            exp.Cast: self._cast,
            exp.TryCast: self._cast,
            exp.Extract: self._extract,
            exp.Anonymous: self._function,
            exp.Filter: self._filter,
            exp.Window: self._window,
        }

    def enter(self) -> None:
        """Count one more level of nesting. Raises QueryError when there are too many."""
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise QueryError(
                f"The query chains or nests more than {DEPTH_MAX} operations: simplify it."
            )

    def leave(self) -> None:
        """End a level."""
        self._depth -= 1

    def condition(self, word: str, clause: exp.Expression | None, select: Select) -> str:
        """WHERE, HAVING or QUALIFY; nothing when the query has none."""
        if clause is None:
            return ""
        (condition,) = parts(clause, "this")
        return f"{word} {self.write(condition, select)}"

    def ordered(self, order: exp.Expression | None, select: Select, *, positions: bool) -> str:
        """ORDER BY of a select (positions) or of a window; nothing when there is none."""
        if order is None:
            return ""
        written = []
        (each_ordered,) = parts(order, "expressions")
        for ordered in each_ordered:
            this, descending, first = parts(ordered, "this", "desc", "nulls_first")
            direction = "DESC" if descending else "ASC"
            nulls = "FIRST" if first else "LAST"
            written.append(f"{self.by(this, select, positions)} {direction} NULLS {nulls}")
        return "ORDER BY " + ", ".join(written)

    def by(self, expression: exp.Expression, select: Select, positions: bool) -> str:
        """What is grouped or ordered by; the name or number of an output becomes its number."""
        if positions and isinstance(expression, exp.Literal):
            return str(whole(expression))
        if positions and isinstance(expression, exp.Column) and not expression.table:
            place = select.aliases.get(expression.name)
            if place is not None:
                return str(place)
        return self.write(expression, select)

    def write(self, node: exp.Expression, select: Select) -> str:
        """SQL of an expression. Raises QueryError for one that is not in the language."""
        self.enter()
        if (sign := _BINARY.get(type(node))) is not None:
            left, right, *_ = parts(node, "this", "expression", "typed", "safe")
            written = f"({self.write(left, select)} {sign} {self.write(right, select)})"
        elif (writer := self._writers.get(type(node))) is not None:
            written = writer(node, select)
        else:
            raise refused(node)
        self.leave()
        return written

    def _column(self, node: exp.Expression, select: Select) -> str:
        identifier, table = parts(node, "this", "table")
        if not isinstance(identifier, exp.Identifier):
            raise QueryError("Name the columns that the query reads: * stands for all of them.")
        source, name = select.source, identifier.name
        if table is not None and table.name not in source.names:
            raise QueryError(
                f"The query names {shown(table.name)}.{shown(name)}, of no source here."
            )
        if name in source.columns:
            return f"s.{source.columns[name]}"
        if name in select.aliases:
            raise QueryError(
                f"{shown(name)} is the name of an output: only GROUP BY and ORDER BY may use it; "
                "repeat its expression here."
            )
        if not source.open:
            known = ", ".join(map(shown, list(source.columns)[:20]))
            raise QueryError(f"The inner select gives no {shown(name)}; it gives {known}.")
        source.columns[name] = f"c{len(source.columns)}"
        return f"s.{source.columns[name]}"

    def _literal(self, node: exp.Expression, _select: Select) -> str:
        text: str
        text, is_string = parts(node, "this", "is_string")
        if is_string:
            return quoted(node)
        if not _NUMBER.fullmatch(text):
            raise QueryError(f"The number {shown(text)} is too long: write at most 18 digits.")
        # with an exponent DuckDB takes a DOUBLE, without a DECIMAL that overflows
        return text if text.isdecimal() or "e" in text.lower() else f"{text}e0"

    def _boolean(self, node: exp.Expression, _select: Select) -> str:
        return "TRUE" if parts(node, "this")[0] else "FALSE"

    def _null(self, _node: exp.Expression, _select: Select) -> str:
        return "NULL"

    def _paren(self, node: exp.Expression, select: Select) -> str:
        return f"({self.write(parts(node, 'this')[0], select)})"

    def _negative(self, node: exp.Expression, select: Select) -> str:
        return f"(- {self.write(parts(node, 'this')[0], select)})"

    def _not(self, node: exp.Expression, select: Select) -> str:
        return f"(NOT {self.write(parts(node, 'this')[0], select)})"

    def _is(self, node: exp.Expression, select: Select) -> str:
        this, what = parts(node, "this", "expression")
        if not isinstance(what, (exp.Null, exp.Boolean)):
            raise refused(what)
        return f"({self.write(this, select)} IS {self.write(what, select)})"

    def _in(self, node: exp.Expression, select: Select) -> str:
        this, values = parts(node, "this", "expressions")
        if not 0 < len(values) <= LIST_MAX:
            raise QueryError(f"IN takes a list of 1 to {LIST_MAX} values.")
        listed = ", ".join(self.write(value, select) for value in values)
        return f"({self.write(this, select)} IN ({listed}))"

    def _between(self, node: exp.Expression, select: Select) -> str:
        this, low, high = (self.write(each, select) for each in parts(node, "this", "low", "high"))
        return f"({this} BETWEEN {low} AND {high})"

    def _like(self, node: exp.Expression, select: Select) -> str:
        this, pattern = parts(node, "this", "expression")
        written = quoted(pattern)
        if written.count("%") > WILDCARDS_MAX:
            raise QueryError(f"The pattern of a LIKE has at most {WILDCARDS_MAX} signs %.")
        word = "LIKE" if isinstance(node, exp.Like) else "ILIKE"
        return f"({self.write(this, select)} {word} {written})"

    def _case(self, node: exp.Expression, select: Select) -> str:
        this, branches, default = parts(node, "this", "ifs", "default")
        if len(branches) > LIST_MAX:
            raise QueryError(f"CASE has at most {LIST_MAX} branches.")
        words = ["CASE"] if this is None else ["CASE", self.write(this, select)]
        for branch in branches:
            condition, value = parts(branch, "this", "true")
            words.append(f"WHEN {self.write(condition, select)} THEN {self.write(value, select)}")
        if default is not None:
            words.append(f"ELSE {self.write(default, select)}")
        return f"({' '.join(words)} END)"

    def _cast(self, node: exp.Expression, select: Select) -> str:
        this, to, *_ = parts(node, "this", "to", "safe")
        kind = None
        if isinstance(to, exp.DataType):
            kind = _TYPES.get(parts(to, "this", "nested")[0])
        if kind is None:
            raise QueryError(
                "CAST goes to " + ", ".join(dict.fromkeys(_TYPES.values())) + " and nothing else."
            )
        word = "TRY_CAST" if isinstance(node, exp.TryCast) else "CAST"
        return f"{word}({self.write(this, select)} AS {kind})"

    def _extract(self, node: exp.Expression, select: Select) -> str:
        part, this = parts(node, "this", "expression")
        return f"date_part('{date_part(part.name)}', {self.write(this, select)})"

    # --- functions ------------------------------------------------------------------------------

    def _function(self, node: exp.Expression, select: Select, *kinds: str) -> str:
        """A call; kinds: those allowed here, by default all but window functions."""
        called, arguments = parts(node, "this", "expressions")
        name = str(called).lower() if isinstance(called, str) else ""
        if name in DATED:
            return self._dated(name, arguments, select)
        function = FUNCTIONS.get(name)
        if function is None:
            raise QueryError(
                f"The function {shown(str(called))} is not allowed in a feature query; "
                "docs/queries.md lists those that are."
            )
        if function.kind not in (kinds or ("scalar", "aggregate")):
            raise QueryError(f"The function {name} does not fit here: it is a {function.kind} one.")
        distinct = ""
        if function.kind == "aggregate" and arguments and isinstance(arguments[0], exp.Distinct):
            distinct, arguments = "DISTINCT ", parts(arguments[0], "expressions")[0]
        if name == "count" and not distinct and [type(each) for each in arguments] == [exp.Star]:
            parts(arguments[0])
            return "count(*)"
        if not function.arguments_min <= len(arguments) <= function.arguments_max:
            raise QueryError(f"The function {name} takes {_times(function)} values.")
        for argument in arguments[function.constant_from :]:
            constant(argument)
        written = ", ".join(self.write(argument, select) for argument in arguments)
        return f"{name}({distinct}{written})"

    def _dated(self, name: str, arguments: list[exp.Expression], select: Select) -> str:
        if len(arguments) != DATED[name] or not isinstance(arguments[0], exp.Literal):
            raise QueryError(f"{name} takes the part, as a text, and {DATED[name] - 1} times.")
        written = ", ".join(self.write(argument, select) for argument in arguments[1:])
        return f"{name}('{date_part(arguments[0].name)}', {written})"

    def _filter(self, node: exp.Expression, select: Select) -> str:
        this, where = parts(node, "this", "expression")
        if not isinstance(this, exp.Anonymous):
            raise refused(this)
        called = self._function(this, select, "aggregate")
        return f"{called} FILTER ({self.condition('WHERE', where, select)})"

    def _window(self, node: exp.Expression, select: Select) -> str:
        this, partition, order, spec, _ = parts(
            node, "this", "partition_by", "order", "spec", "over"
        )
        if isinstance(this, exp.Anonymous):
            called = self._function(this, select, "aggregate", "window")
        elif isinstance(this, exp.Filter):
            called = self._filter(this, select)
        else:
            raise refused(this)
        clauses = []
        if partition:
            clauses.append(
                "PARTITION BY " + ", ".join(self.write(each, select) for each in partition)
            )
        clauses.append(self.ordered(order, select, positions=False))
        clauses.append("" if spec is None else frame(spec))
        return f"{called} OVER ({' '.join(clause for clause in clauses if clause)})"


def _times(function: Function) -> str:
    low, high = function.arguments_min, function.arguments_max
    return str(low) if low == high else f"{low} to {high}"
