"""The functions that a feature query may call, as DuckDB names them.

Each takes and returns single values (numbers, times, texts no longer than what they were given),
needs no setting, clock, time zone or random numbers, and its cost grows with the number of rows
alone. Whatever makes texts or lists longer is left out.
"""

from typing import Literal

import msgspec

Kind = Literal["scalar", "aggregate", "window"]


class Function(msgspec.Struct, frozen=True):
    """kind, and how many arguments; constant: arguments from that place on must be literals."""

    kind: Kind
    arguments_min: int
    arguments_max: int
    constant_from: int = 99


def _table(kind: Kind, low: int, high: int, names: str, constant: int = 99) -> dict[str, Function]:
    return {name: Function(kind, low, high, constant) for name in names.split()}


FUNCTIONS: dict[str, Function] = {
    **_table("scalar", 0, 0, "pi"),
    **_table(
        "scalar",
        1,
        1,
        "abs ceil ceiling floor trunc sign sqrt cbrt exp ln log2 log10 sin cos tan asin acos atan "
        "degrees radians isnan isfinite lower upper length trim year quarter month week day "
        "dayofyear dayofweek isodow hour minute second epoch make_timestamp",
    ),
    **_table("scalar", 1, 2, "log"),
    **_table("scalar", 1, 2, "round", constant=1),
    **_table("scalar", 2, 2, "pow power mod atan2 nullif ifnull contains starts_with ends_with"),
    **_table("scalar", 2, 3, "substr", constant=1),
    **_table("scalar", 1, 16, "coalesce greatest least"),
    **_table("aggregate", 0, 1, "count"),
    **_table(
        "aggregate",
        1,
        1,
        "sum avg min max median stddev stddev_samp stddev_pop variance var_samp var_pop skewness "
        "kurtosis entropy bool_and bool_or count_if",
    ),
    **_table(
        "aggregate", 2, 2, "arg_min arg_max corr covar_samp covar_pop regr_slope regr_intercept"
    ),
    **_table("aggregate", 2, 2, "quantile_cont quantile_disc", constant=1),
    **_table("window", 0, 0, "row_number rank dense_rank percent_rank cume_dist"),
    **_table("window", 1, 1, "ntile", constant=0),
    **_table("window", 1, 1, "first_value last_value"),
    **_table("window", 2, 2, "nth_value", constant=1),
    **_table("window", 1, 3, "lag lead", constant=1),
}

# Functions whose first argument is one of `PARTS`, written as a text.
DATED = {"date_part": 2, "date_trunc": 2, "date_diff": 3}
PARTS = (
    *("year", "isoyear", "quarter", "month", "week", "day", "dow", "isodow", "doy"),
    *("hour", "minute", "second", "epoch"),
)
