"""The pages of the team that speak of columns, in the words of another table."""

import json
from typing import Any

from looseleaf.contract.decide import Plan
from looseleaf.contract.texts import INLINE_FIELDS, REQUEST, printable, wrapped

ABOUT_SAMPLE = """
It runs now, on a sample (a firm that delivers meal boxes and whose customers leave); your own table comes next.
""".strip()

# What stands for the sample in sections that are kept.
OLD = (
    "on a customer counts as leaving",
    "everyone who was a customer at 00:00 UTC,\nwith the answer",
    "The same customer at the same moment gets",
)
OLD_CALL = 'Row(customer_id="c-00890", discount=25)).probability'
APPLICATION = "Ask from an application"
REWRITTEN = {
    "Ask for a prediction",
    APPLICATION,
    "Score everyone",
    "Promote and roll back",
    "Your own table",
    "What is where",
}
ERRORS = (
    "| Said *churns*, would have stayed |",
    "| Said *stays*, left |",
    "The threshold of a deployment follows",
)


def readme(sections: dict[str, str], plan: Plan, file: str, call: str, sent: dict[str, Any]) -> dict[str, str]:
    """The sections of README.md that speak of columns, by heading, made from those of the template."""
    answer = plan.target
    told = f"`{printable(answer.label)}`" + (
        f": {', '.join(map(printable, answer.classes[:6]))}" if answer.classes else ""
    )
    shown = printable(file)
    changed: dict[str, str] = {}
    for heading, body in sections.items():
        changed[heading] = body
        if not heading:
            changed[heading] = body.replace(ABOUT_SAMPLE, f"It learns from `{shown}` and answers {told}.")
        elif heading == "Ask for a prediction":
            changed[heading] = _ask(plan, sent)
        elif heading == APPLICATION:
            changed[heading] = body.replace(OLD_CALL, "Row(**row)).prediction")
        elif heading == "Score everyone":
            changed[heading] = _score(body, plan)
        elif heading == "Promote and roll back":
            changed[heading] = body.replace(OLD[0], _counts_as(plan))
        elif heading == "Your own table":
            changed[heading] = OWN.format(file=shown, call=call)
        elif heading == "What is where":
            for before, after in WHERE:
                body = body.replace(before, after)
            changed[heading] = body
    return changed


def agreement(body: str, plan: Plan) -> str:
    """docs/agreement.md with the errors of this answer."""
    if plan.target.task == "binary":
        negative, positive = map(printable, plan.target.classes)
        one, two = f"Said *{positive}*, is *{negative}*", f"Said *{negative}*, is *{positive}*"
    elif plan.target.task == "regression":
        one, two = "Said too much", "Said too little"
    else:
        one, two = "Said the wrong class, and it was acted on", "Said the wrong class, and the right one was missed"
    body = body.replace(ERRORS[0], f"| {one} |")
    body = body.replace(ERRORS[1], f"| {two} |")
    if plan.target.task == "binary":
        return body
    start = body.find(ERRORS[2])
    end = body.find("\n## ", start)
    return body if start < 0 or end < 0 else body[:start] + body[end + 1 :]


OWN = """
`docs/contract-report.md` says how each column of `{file}` was read, what was left out and why, and
what nobody could be sure of. Every file it names is yours to edit. When the table changes, look first, then write:

```
{call} DIFF=1
{call}
```

The first says what would change and whether callers break; the second writes it, with a new `VERSION` in
`src/model/contract.py` when they do. A file that you have edited is not overwritten (`FORCE=1` does, and keeps a copy).
Without `DATA`, `make contract` writes `contract.json` after an edit of `contract.py`. A query of a warehouse takes the
file's place: `lifecycle/docs/data.md`. What has to be computed as of a moment (sums over the last 30 days) belongs into
`src/model/features.sql`, declared as `Lookup()` in the contract.

`data/` is not in git. `make test` runs without it, on rows invented from the contract; where the file is, it is
tested, too.

"""

WHERE = (
    (" · `features.sql` columns as of a moment", ""),
    ("| the data, the features, the model's", "| the data, the model's"),
    ("a first look at tables, features and model", "a first look at the table and the model"),
    ("not in git: the sample's tables; bundles", "not in git: the table; bundles"),
    (
        "| `docs/agreement.md` |",
        "| `docs/contract-report.md` | what `make contract` found in the table, and what it was not sure of |\n"
        "| `docs/agreement.md` |",
    ),
)


def _ask(plan: Plan, sent: dict[str, Any]) -> str:
    body = json.dumps(sent, ensure_ascii=False).replace("'", "\\u0027")
    argument = f"'{body}'" if len(sent) <= INLINE_FIELDS else f"@{REQUEST}"
    answer = plan.target
    if answer.task == "regression":
        example = f'`{{"prediction":…}}`: {printable(answer.label)}' + (
            f", in {printable(answer.unit)}" if answer.unit else ""
        )
    elif answer.task == "binary":
        one, two = map(printable, answer.classes)
        example = f'`{{"prediction":"{two}","probability":…}}`, or "{one}"; the probability is that of "{two}"'
    else:
        example = '`{"prediction":"…","probabilities":{…}}` with the probability of each class'
    told = wrapped(
        f"It answers {example}. The row is an invented one; the caller sends every field. A list of rows gets a list "
        "of answers. A row that breaks the contract gets 422, which names the field."
    )
    return f"""
With `make serve` running, in another terminal:

```
curl -s http://127.0.0.1:8000/predict -H 'Content-Type: application/json' \\
  -d {argument}
```

{told}

`/docs` documents the requests (without internet, too), `/info` says which version answers and why, `/healthz` and
`/readyz` are for the platform. A version that is promoted takes over in the running service, without losing a request.

"""


def _score(body: str, plan: Plan) -> str:
    told = "every row from before 00:00 UTC of the date," if plan.time else "every row of the table, labelled or not,"
    return body.replace(OLD[1], f"{told}\nwith the answer").replace(OLD[2], "The same row gets")


def _counts_as(plan: Plan) -> str:
    if plan.target.task != "binary":
        return "on the first of two classes is answered"
    return f"on the answer is {printable(plan.target.classes[1])}"
