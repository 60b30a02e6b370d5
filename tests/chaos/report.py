"""What a fault did, and the table of it."""

from pathlib import Path
from typing import Any

import msgspec

from tests.chaos.fire import Burst
from tests.chaos.load import Seen

BEGIN, END = "<!-- chaos -->", "<!-- /chaos -->"


class Finding(msgspec.Struct):
    """One fault. `missing`: billed upstream and not in the ledger. `wrong`: other tokens than billed, and not
    flagged as an estimate. `unexplained`: charged, not billed upstream, and not flagged. `short`: an estimate
    below what was billed."""

    fault: str
    answers: dict[str, int]
    billed: int
    exact: int
    estimated: int
    missing: int
    wrong: int
    unexplained: int
    short: int
    books_agree: bool

    @classmethod
    def of(
        cls,
        fault: str,
        seen: Seen,
        billed: dict[str, dict[str, Any]],
        rows: dict[str, dict[str, Any]],
        books: dict[str, Any],
    ) -> "Finding":
        exact = estimated = wrong = short = 0
        for request_id, call in billed.items():
            row = rows.get(request_id)
            if row is None:
                continue
            if row["estimated"]:
                estimated += 1
                short += float(row["cost_usd"]) < _cost_usd(call)
            elif (row["input_tokens"], row["output_tokens"]) == (call["input_tokens"], call["output_tokens"]):
                exact += 1
            else:
                wrong += 1
        unexplained = [
            row
            for request_id, row in rows.items()
            if request_id not in billed
            and row["request_id"] >= min(billed, default="")
            and float(row["cost_usd"])
            and not row["estimated"]
        ]
        return cls(
            fault=fault,
            answers=dict(seen.statuses),
            billed=len(billed),
            exact=exact,
            estimated=estimated,
            missing=len(billed.keys() - rows.keys()),
            wrong=wrong,
            unexplained=len(unexplained),
            short=short,
            books_agree=books["ok"],
        )


def _cost_usd(call: dict[str, Any]) -> float:
    """At Sonnet's list price, which the load calls."""
    return float(call["input_tokens"] * 3 + call["output_tokens"] * 15) / 1e6


def write(path: Path, findings: list[Finding]) -> None:
    """Put the table between the markers of a page."""
    lines = [
        "| fault | answers | billed | exact in ledger | flagged estimate | missing | books agree |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in findings:
        answers = ", ".join(f"{status}: {count}" for status, count in sorted(each.answers.items()))
        lines.append(
            f"| {each.fault.replace('_', ' ')} | {answers} | {each.billed} | {each.exact} | {each.estimated} "
            f"| {each.missing} | {'yes' if each.books_agree else 'no'} |"
        )
    _put(path, lines, BEGIN, END)


class Burned(msgspec.Struct):
    """One burst against 5 USD."""

    what: str
    workers: int
    burst: Burst


def write_fire(path: Path, found: list[Burned]) -> None:
    """Put the table of the bursts between its markers."""
    lines = [
        "| against $5.00 | web processes | answers | spent | most held and spent at once |",
        "|---|---|---|---|---|",
    ]
    for each in found:
        answers = ", ".join(f"{status}: {count}" for status, count in sorted(each.burst.statuses.items()))
        lines.append(
            f"| {each.what} | {each.workers} | {answers} | ${each.burst.spent:.4f} | ${each.burst.most:.4f} |"
        )
    _put(path, lines, "<!-- fire -->", "<!-- /fire -->")


def _put(path: Path, lines: list[str], begin: str, end: str) -> None:
    page = path.read_text()
    head, _, rest = page.partition(begin)
    _, _, tail = rest.partition(end)
    path.write_text(f"{head}{begin}\n" + "\n".join(lines) + f"\n{end}{tail}")
