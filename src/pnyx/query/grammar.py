"""From the text of a query to a syntax tree, with bounds that hold before parsing.

The parser is sqlglot's, whose run time is exponential in the nesting of some constructs (types such
as `row(row(...`, comma joins, LIMIT within arguments). So tokens come first, by one pass over at
most `TEXT_BYTES_MAX` bytes: their number and nesting are bounded, and only those of the language
are let through. Then the parser counts its steps and gives up after `STEPS_MAX`: whatever makes it
go back and forth is cut short, known or not. It is reduced to the language as well: no joins, no
typed literals, and every function is a plain name with arguments, so that none is translated.
"""

from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import ParseError, SqlglotError
from sqlglot.parsers.duckdb import DuckDBParser
from sqlglot.tokenizer_core import Token, TokenType

from pnyx.errors import QueryError

TEXT_BYTES_MAX = 8 * 1024
TOKENS_MAX = 3000
NESTING_MAX = 16  # of brackets and CASE
STEPS_MAX = 20_000  # of the parser over its tokens: plain queries take about one a token
_SHOWN_MAX = 60  # characters of a query in an error

_ALLOWED = """
    L_PAREN R_PAREN COMMA DOT DASH PLUS STAR SLASH DIV MOD DSTAR CARET EQ NEQ LT LTE GT GTE DCOLON
    NUMBER STRING IDENTIFIER VAR SELECT FROM WHERE GROUP_BY ORDER_BY HAVING QUALIFY LIMIT WITH ALIAS
    AND OR NOT IN IS NULL BETWEEN LIKE ILIKE CASE WHEN THEN ELSE END DISTINCT ASC DESC OVER ALL
    PARTITION_BY ROWS RANGE FILTER TRUE FALSE FIRST DOUBLE BIGINT INT BOOLEAN DATE TIMESTAMP
    TIMESTAMPNTZ
"""
_TOKENS = frozenset(TokenType[name] for name in _ALLOWED.split())
_OPENING = (TokenType.L_PAREN, TokenType.CASE)
_CLOSING = (TokenType.R_PAREN, TokenType.END)


class _Parser(DuckDBParser):
    """Reduced as the module says; one object reads one text."""

    _steps = 0
    FUNCTIONS: ClassVar[dict[str, Any]] = {}
    FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
        name: DuckDBParser.FUNCTION_PARSERS[name] for name in ("CAST", "TRY_CAST", "EXTRACT")
    }
    NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {}
    NO_PAREN_FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
        "CASE": DuckDBParser.NO_PAREN_FUNCTION_PARSERS["CASE"]
    }

    def _advance(self, times: int = 1) -> None:
        """Called for each step forwards or back."""
        self._steps += 1
        if self._steps > STEPS_MAX:
            raise QueryError("The query is too intricate to be read: simplify it.")
        super()._advance(times)

    def _parse_join(self, *_: object, **__: object) -> None:
        return None

    def _parse_type(self, *_: object, **__: object) -> Any:
        return self._parse_column()


class _Language(DuckDB):
    """DuckDB's dialect without what a feature query never needs."""

    Parser = _Parser


def parse(text: str) -> exp.Select:
    """The syntax tree of one SELECT. Raises QueryError, with the position of what is wrong."""
    if len(text.encode()) > TEXT_BYTES_MAX:
        raise QueryError(f"The query is longer than {TEXT_BYTES_MAX} bytes: shorten it.")
    if odd := [c for c in text if not (c.isprintable() or c in "\t\n\r")]:
        raise QueryError(f"The query holds the control character {odd[0]!r}: remove it.")
    language = _Language()
    try:
        tokens = language.tokenize(text)
        _check_tokens(tokens)
        statements = language.parser().parse(tokens, text)
    except ParseError as error:
        raise QueryError(_worded(error)) from error
    except SqlglotError as error:
        raise QueryError("The query has an unfinished text or name: close its quotes.") from error
    except RecursionError as error:
        raise QueryError("The query is nested too deeply: simplify it.") from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Select):
        raise QueryError("A feature query is one SELECT and nothing else.")
    return statements[0]


def _check_tokens(tokens: list[Token]) -> None:
    if len(tokens) > TOKENS_MAX:
        raise QueryError(f"The query has more than {TOKENS_MAX} words and signs: shorten it.")
    nesting = 0
    before = ""
    for token in tokens:
        current_row = token.text.lower() == "row" and before == "current"
        if token.token_type not in _TOKENS and not current_row:
            raise QueryError(
                f"{shown(token.text)} is not allowed in a feature query "
                f"(line {token.line}, column {token.col}); docs/queries.md says what is."
            )
        nesting += (token.token_type in _OPENING) - (token.token_type in _CLOSING)
        if nesting > NESTING_MAX:
            raise QueryError(
                f"The query is nested more than {NESTING_MAX} deep "
                f"(line {token.line}, column {token.col}): simplify it."
            )
        before = token.text.lower()


def _worded(error: ParseError) -> str:
    first = error.errors[0] if error.errors else {}
    where = f"line {first.get('line')}, column {first.get('col')}"
    near = shown(str(first.get("highlight") or ""))
    return f"The query cannot be read near {near} ({where}): correct its syntax."


def shown(text: str) -> str:
    """A part of a query, short enough for a sentence."""
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}..."


def parts(node: exp.Expression, *names: str) -> list[Any]:
    """Return these arguments of a node, in order, having made sure that it has no other."""
    others = [name for name, value in node.args.items() if name not in names and value]
    if others:
        raise QueryError(
            f"{_word(node)} with {others[0].strip('_').replace('_', ' ')} is not allowed in a "
            "feature query: leave it out."
        )
    return [node.args.get(name) for name in names]


def refused(node: exp.Expression) -> QueryError:
    """The error for a node that is not in the language."""
    return QueryError(f"{_word(node)} is not allowed in a feature query: leave it out.")


def _word(node: exp.Expression) -> str:
    return type(node).__name__.upper()
