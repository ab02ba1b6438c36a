"""Compare the meaning of SQL on DuckDB and on Spark, without running it, and spell it for Spark.

`features.sql` is written for DuckDB. Where Spark cannot parse it, or returns other values, `check` names the line. Two
things are spelled differently for Spark, with the same meaning and in the same lines: a number with a point is DOUBLE,
because Spark divides decimals with few digits; and VARCHAR is STRING. The differences were measured on DuckDB 2.0 and
Spark 4.3; `tests/runtime/spark/test_dialect.py` of the template has an example of each.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from lifecycle.errors import LifecycleError

# Table name → column name → type, as DuckDB describes them.
Schema = Mapping[str, Mapping[str, str]]
Finding = tuple[Any, str]  # a node of the syntax tree, and what differs

TIMES = {"DATE", "TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMPNTZ", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"}
WHOLE = {"TINYINT", "SMALLINT", "INT", "BIGINT", "INT128", "UTINYINT", "USMALLINT", "UINT", "UBIGINT"}
SECONDS = "compute with whole seconds since 1970, as in `ts`"
# Functions that exist on both with another meaning, or only on DuckDB, and what to write.
FUNCTIONS = {
    "log": "log(x) has base 10 on DuckDB and base e on Spark; write log10(x) or ln(x)",
    "concat": "concat skips NULL on DuckDB and returns NULL on Spark; write a || b, with coalesce where it may be NULL",
    "round": "round(x, n) rounds some halves to the other side on Spark; write floor(x * 100 + 0.5) / 100",
    "skewness": "skewness has another definition on Spark",
    "kurtosis": "kurtosis has another definition on Spark",
    "hash": "hash returns other numbers on Spark; write md5(x)",
    "approxdistinct": "approx_count_distinct approximates differently on Spark; write count(DISTINCT x)",
    "approxquantile": "approx_quantile does not exist on Spark; write percentile_cont(p) WITHIN GROUP (ORDER BY x)",
    "dayofweek": "the days of a week begin with 0 on DuckDB and with 1 on Spark",
    "weekday": "the days of a week begin with Sunday on DuckDB and with Monday on Spark",
    "regexpreplace": "regexp_replace replaces the first match on DuckDB and every one on Spark; write replace(x, a, b)",
    "regexpextract": "regexp_extract returns the whole match on DuckDB and group 1 on Spark; state a group from 1 on",
    "bracket": "the first element of a list is 1 on DuckDB and 0 on Spark; write max_by or min_by",
    "substring": "substring from 0 returns one character less on DuckDB; begin with 1",
    "datediff": f"the arguments of date_diff differ on Spark; {SECONDS}",
    "percentilecont": "quantile_cont does not exist on Spark; write percentile_cont(p) WITHIN GROUP (ORDER BY x)",
    "quantile": "quantile does not exist on Spark; write percentile_cont(p) WITHIN GROUP (ORDER BY x)",
    "timetounix": f"epoch does not exist on Spark; {SECONDS}",
    "unixtotime": f"a number is not converted to a timestamp in this way on Spark; {SECONDS}",
}
HINT = "Write what both engines understand in the same way (lifecycle/docs/spark.md), or set engine.kind: duckdb."


def translate(sql: str) -> str:
    """Return SQL as Spark has to read it; lines stay the same."""
    import sqlglot

    following = ""
    # From the end, so that the places of the tokens before stay the same.
    for token in reversed(sqlglot.tokenize(sql, read="duckdb")):
        name, text = token.token_type.name, token.text
        if name == "NUMBER" and "." in text and "e" not in text.lower():
            sql = f"{sql[: token.end + 1]}D{sql[token.end + 1 :]}"
        elif text.upper() == "VARCHAR" and name not in ("IDENTIFIER", "STRING") and following != "(":
            sql = f"{sql[: token.start]}STRING{sql[token.end + 1 :]}"
        following = text
    return sql


def check(sql: str, where: str, tables: Schema) -> None:
    """Raise LifecycleError with each line of `sql` that Spark does not parse, or that has another meaning there.

    `tables` has the columns and types of all tables that it reads, as far as they are known; `where` names the SQL.
    """
    import sqlglot
    from sqlglot.errors import ParseError, TokenError

    try:
        ours = sqlglot.parse_one(sql, read="duckdb")
    except (ParseError, TokenError) as error:
        raise _refused(where, [_fault(error, "it cannot be compared with Spark")]) from error
    typed = _typed(ours, tables)
    found = {(_line(node), text) for node, text in (*_operators(typed), *_functions(typed), *_frames(ours))}
    carets = (token for token in sqlglot.tokenize(sql, read="duckdb") if token.token_type.name == "CARET")
    found |= {
        (token.line, "^ is a power on DuckDB and an exclusive OR on Spark; write power(a, b)") for token in carets
    }
    try:
        theirs = sqlglot.parse_one(translate(sql), read="spark")
        found |= {(_line(node), text) for node, text in _null_order(ours, theirs)}
    except (ParseError, TokenError) as error:
        found = found or {_fault(error, "Spark cannot parse it")}
    if found:
        raise _refused(where, sorted(found))


def _refused(where: str, found: list[tuple[int, str]]) -> LifecycleError:
    return LifecycleError("\n  ".join(f"{where}:{line}: {text}" for line, text in found), HINT)


def _typed(tree: Any, tables: Schema) -> Any:
    """Return the tree with the type of each expression, as far as it is known."""
    from sqlglot.errors import SqlglotError
    from sqlglot.optimizer.annotate_types import annotate_types
    from sqlglot.optimizer.qualify import qualify

    schema: Any = {name: dict(columns) for name, columns in tables.items()}
    try:
        return annotate_types(
            qualify(tree.copy(), schema=schema, dialect="duckdb", quote_identifiers=False),
            schema=schema,
            dialect="duckdb",
        )
    # A table that is not known yet, or a column that sqlglot cannot resolve: the rules below then know fewer types.
    except SqlglotError:
        return annotate_types(tree.copy(), schema=schema, dialect="duckdb")


def _operators(tree: Any) -> Iterator[Finding]:
    """Yield divisions, casts and subtractions that differ."""
    from sqlglot import exp

    yield from ((node, "Spark has no //; write CAST(floor(a / b) AS BIGINT)") for node in tree.find_all(exp.IntDiv))
    for node in tree.find_all(exp.Cast):
        whole = isinstance(node.this, (exp.Floor, exp.Ceil, exp.Round, exp.Trunc))
        if _type(node) in WHOLE and not whole:
            of = _type(node.this)
            if of in ("FLOAT", "DOUBLE", "DECIMAL") or (of == "UNKNOWN" and node.this.find(exp.Div)):
                text = "a cast of a fraction to a whole number rounds on DuckDB and truncates on Spark"
                yield node, f"{text}; write floor, ceil or round inside it"
            elif of in TIMES:
                yield node, f"a timestamp is cast to another number on Spark; {SECONDS}"
    for node in tree.find_all(exp.Div, exp.Avg):
        parts = [node.this, node.expression] if isinstance(node, exp.Div) else [node.this]
        if any(_type(part) == "DECIMAL" and not isinstance(part, exp.Literal) for part in parts):
            yield node, "Spark divides decimals with fewer digits; write CAST(x AS DOUBLE)"
    for node in tree.find_all(exp.Sub):
        if _type(node.this) in TIMES and _type(node.expression) in TIMES:
            yield node, f"the difference of two timestamps has another type on Spark; {SECONDS}"


def _functions(tree: Any) -> Iterator[Finding]:
    from sqlglot import exp

    for node in tree.find_all(exp.Func, exp.Bracket):
        name = node.name.lower() if isinstance(node, exp.Anonymous) else type(node).__name__.lower()
        # These forms, and percentile_cont(p) WITHIN GROUP (…), are the same on both.
        same = {"log": bool(node.expression), "round": not node.args.get("decimals")}
        same |= {"regexpextract": str(node.args.get("group")) != "0", "substring": str(node.args.get("start")) != "0"}
        # The value of a key of a map.
        same["bracket"] = any(getattr(each, "is_string", False) for each in node.expressions)
        if name == "extract" and node.name.upper() in ("EPOCH", "DOW", "DAYOFWEEK"):
            yield node, f"extract({node.name.lower()} …) differs on Spark; {SECONDS}"
        elif name in FUNCTIONS and not same.get(name) and not isinstance(node.parent, exp.WithinGroup):
            yield node, FUNCTIONS[name]
    joins = (join for join in tree.find_all(exp.Join) if join.args.get("method") == "ASOF")
    yield from ((join, "Spark has no ASOF JOIN; join on the key and select max_by(value, ts)") for join in joins)


def _frames(tree: Any) -> Iterator[Finding]:
    """Yield window frames that Spark does not have."""
    from sqlglot import exp

    for spec in tree.find_all(exp.WindowSpec):
        offsets = [each for each in (spec.args.get("start"), spec.args.get("end")) if isinstance(each, exp.Expression)]
        if spec.args.get("kind") == "GROUPS" or spec.args.get("exclude"):
            yield spec.parent, "Spark has neither GROUPS nor EXCLUDE in a window frame; write ROWS or RANGE"
        elif spec.args.get("kind") == "RANGE" and any(each.find(exp.Interval) for each in offsets):
            yield spec.parent, f"a RANGE of intervals over timestamps differs on Spark; {SECONDS}"


def _null_order(ours: Any, theirs: Any) -> Iterator[Finding]:
    """Yield orders that place NULL differently, and where that changes a value."""
    from sqlglot import exp

    pairs = zip(ours.find_all(exp.Ordered), theirs.find_all(exp.Ordered), strict=False)
    for mine, other in pairs:
        if bool(mine.args.get("nulls_first")) == bool(other.args.get("nulls_first")):
            continue
        owner: Any = mine.parent
        owner = owner.parent if isinstance(owner, exp.Order) else owner
        spec: Any = owner.args.get("spec") if isinstance(owner, exp.Window) else None
        # A RANGE between two numbers never reaches from a value to NULL. Percentiles skip NULL.
        bounded = spec is not None and spec.args.get("kind") == "RANGE"
        bounded = bounded and "UNBOUNDED" not in (spec.args.get("start"), spec.args.get("end"))
        unlimited = isinstance(owner, exp.Query) and not owner.args.get("limit") and not owner.args.get("distinct")
        if not (bounded or unlimited or isinstance(owner, exp.WithinGroup)):
            text = "NULL comes last on DuckDB and first on Spark in an ascending order"
            yield mine, f"{text}; write NULLS LAST or NULLS FIRST"


def _type(node: Any) -> str:
    kind = node.args.get("to") or node.type
    return "UNKNOWN" if kind is None else str(kind.this.name if hasattr(kind.this, "name") else kind.this)


def _line(node: Any) -> int:
    """Return the first line of a node; a node without a name is in that of the nearest one around it."""
    while node is not None:
        if lines := [each.meta["line"] for each in node.walk() if "line" in each.meta]:
            return int(min(lines))
        node = node.parent
    return 1


def _fault(error: Any, problem: str) -> tuple[int, str]:
    first = (getattr(error, "errors", None) or [{}])[0]
    text = str(first.get("description") or error).strip().splitlines()[0]
    return int(first.get("line") or 1), f"{problem}: {text}"
