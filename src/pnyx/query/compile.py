"""From a syntax tree to SQL of our own making, and to what the owner is asked for.

What is run is never the text received. Every node of the tree must have an entry here, which writes
its SQL anew; a node, or a part of one, without an entry is refused. Names are not copied either:
the columns of the collection become c0, c1, ... in the order of `FeatureQuery.reads`, those of a
select become o0, o1, ... Whether sqlglot and DuckDB read a text alike therefore does not matter.

    query       [WITH name AS (select), ...] select
    select      SELECT [DISTINCT] expression [AS name], ...  FROM data | name | (select)
                [WHERE] [GROUP BY] [HAVING] [QUALIFY] [ORDER BY] [LIMIT]
    expression  columns, numbers, texts, arithmetic, comparisons, CASE, CAST to plain types, IN a
                list, BETWEEN, LIKE a pattern, EXTRACT, functions of `functions`, FILTER, OVER

Each select reads one source, so queries chain and never multiply rows. Names are case-sensitive, as
in the collection. A name means a column of the source; in GROUP BY and ORDER BY it may also be an
output's.
"""

import msgspec
from sqlglot import exp

from pnyx.errors import QueryError
from pnyx.query.expressions import ExpressionWriter, Select, Source
from pnyx.query.grammar import parse, parts, refused, shown
from pnyx.query.literals import whole

TABLE = "data"
OUTPUTS_MAX = 4096


class FeatureQuery(msgspec.Struct, frozen=True):
    """A checked query. reads: columns of the collection; outputs: names of what it gives."""

    sql: str
    reads: tuple[str, ...]
    outputs: tuple[str, ...]


def read_query(text: str) -> FeatureQuery:
    """Check a query and write it anew. Raises QueryError, one sentence that says what to do."""
    tree = parse(text)
    try:
        compiler = _Compiler()
        sql, outputs = compiler.query(tree)
    except RecursionError as error:
        raise QueryError("The query is nested too deeply: simplify it.") from error
    if not compiler.reads:
        raise QueryError("The query reads no column of the data: name at least one.")
    return FeatureQuery(sql, tuple(compiler.reads), tuple(outputs))


class _Compiler:
    """Writes one query; `reads` gathers the columns of the collection."""

    def __init__(self) -> None:
        self.reads: dict[str, str] = {}
        self._named: dict[str, exp.Select] = {}
        self._expressions = ExpressionWriter()

    def query(self, tree: exp.Select) -> tuple[str, list[str]]:
        """SQL of the whole, and the names of its outputs."""
        if (with_ := tree.args.get("with_")) is not None:
            (each,) = parts(with_, "expressions")
            for part in each:
                select, alias = parts(part, "this", "alias")
                name = _alias(alias)
                if name == TABLE or name in self._named or not isinstance(select, exp.Select):
                    raise QueryError(
                        f"WITH {shown(name)} must name one SELECT, by a name of its own."
                    )
                self._named[name] = select
        sql, outputs = self._select(tree, outermost=True)
        if self._named:
            unused = next(iter(self._named))
            raise QueryError(f"The query names {shown(unused)} in WITH but does not use it there.")
        return sql, outputs

    def _select(self, tree: exp.Select, *, outermost: bool = False) -> tuple[str, list[str]]:
        self._expressions.enter()
        expressions, from_, where, group, having, qualify, order, limit, distinct, *_ = parts(
            tree,
            *("expressions", "from_", "where", "group", "having", "qualify", "order", "limit"),
            *("distinct", "with_") if outermost else ("distinct",),
        )
        if from_ is None:
            raise QueryError(f"The query must read its rows: add FROM {TABLE}.")
        select = Select(self._source(from_), {})
        if not 0 < len(expressions) <= OUTPUTS_MAX:
            raise QueryError(f"A select has between 1 and {OUTPUTS_MAX} outputs.")
        outputs: list[str] = []
        written = []
        for place, expression in enumerate(expressions):
            inner, name = _named_output(expression)
            if name in outputs:
                raise QueryError(f"Two outputs are named {shown(name)}: rename one with AS.")
            written.append(f"{self._expressions.write(inner, select)} AS o{place}")
            if inner is not expression:
                select.aliases[name] = place + 1  # after it: max(day) AS day reads the column
            outputs.append(name)
        if distinct is not None:
            parts(distinct)
        clauses = [
            f"SELECT {'DISTINCT ' if distinct is not None else ''}{', '.join(written)}",
            f"FROM {select.source.clause} AS s",
            self._expressions.condition("WHERE", where, select),
            self._grouped(group, select),
            self._expressions.condition("HAVING", having, select),
            self._expressions.condition("QUALIFY", qualify, select),
            self._expressions.ordered(order, select, positions=True),
            "" if limit is None else f"LIMIT {whole(parts(limit, 'expression')[0])}",
        ]
        self._expressions.leave()
        return " ".join(clause for clause in clauses if clause), outputs

    def _source(self, from_: exp.Expression) -> Source:
        (source,) = parts(from_, "this")
        if isinstance(source, exp.Subquery):
            inner, alias = parts(source, "this", "alias")
            names = frozenset() if alias is None else frozenset({_alias(alias)})
            return self._inner(inner, names)
        if not isinstance(source, exp.Table):
            raise refused(source)
        name, alias = parts(source, "this", "alias")
        if not isinstance(name, exp.Identifier):
            raise QueryError(f"The query may read the table {TABLE} only, not a function.")
        table = name.name
        names = frozenset({table if alias is None else _alias(alias)})
        if table in self._named:
            return self._inner(self._named.pop(table), names)  # used once: nothing multiplies
        if table != TABLE:
            raise QueryError(
                f"The query reads from {shown(table)}: it may read the table {TABLE}, and each "
                "select of its WITH once."
            )
        return Source(TABLE, names, self.reads, open=True)

    def _inner(self, tree: exp.Expression, names: frozenset[str]) -> Source:
        if not isinstance(tree, exp.Select):
            raise refused(tree)
        sql, outputs = self._select(tree)
        columns = {name: f"o{place}" for place, name in enumerate(outputs)}
        return Source(f"({sql})", names, columns)

    def _grouped(self, group: exp.Expression | None, select: Select) -> str:
        if group is None:
            return ""
        expressions, everything = parts(group, "expressions", "all")
        if everything:
            return "GROUP BY ALL"
        return "GROUP BY " + ", ".join(
            self._expressions.by(each, select, True) for each in expressions
        )


def _named_output(expression: exp.Expression) -> tuple[exp.Expression, str]:
    """What an output is computed from, and its name."""
    if isinstance(expression, exp.Alias):
        inner, alias = parts(expression, "this", "alias")
        return inner, alias.name
    if isinstance(expression, exp.Column):
        return expression, expression.name
    if isinstance(expression, exp.Star):
        raise QueryError("Name the columns that the query reads: * stands for all of them.")
    raise QueryError("Every output needs a name: write AS name after its expression.")


def _alias(alias: exp.Expression) -> str:
    (identifier,) = parts(alias, "this")
    return str(identifier.name)
