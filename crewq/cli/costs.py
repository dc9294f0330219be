"""The command `costs`: what was spent, by day, tenant, crew or model, also on runs that are forgotten by now."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import click

from crewq.cli.options import as_json, print_json
from crewq.cli.phrases import money, tokens
from crewq.outputs import UsageMetrics
from crewq.producer import connect
from crewq.store import Cost

BY = ("day", "tenant", "crew", "model")


class _Since(click.ParamType[date]):
    """A day: `2026-11-01`, or `7d` for the last seven, today among them."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """The first day."""
        if days := re.fullmatch(r"([1-9]\d{0,3})d", str(value)):
            return datetime.now(UTC).date() - timedelta(days=int(days[1]) - 1)
        try:
            return date.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is neither a day, such as 2026-11-01, nor a number of days, such as 7d.", param, ctx)


@click.command()
@click.option(
    "--by", multiple=True, default=("day",), show_default="day", type=click.Choice(BY), help="May be repeated."
)
@click.option("--since", type=_Since(), default="30d", show_default=True, metavar="DAY|DAYSd", help="The first day.")
@click.option("--tenant", metavar="NAME", help="Only those of this tenant.")
@as_json
def costs(by: tuple[str, ...], since: date, tenant: str | None, as_json: bool) -> None:
    """Add up what model calls have cost: calls, tokens and US dollars, by day, tenant, crew or model.

    They are counted with the answers, kept for 400 days, and stay when runs are forgotten. Days are those of UTC. Where the
    price of calls is not known, it says so: $1.20 + ? is what is known, and more.

    \b
    Examples:
      crewq costs
      crewq costs --by tenant --by model --since 2026-11-01
    """
    producer = connect(work=False)
    found = [one for one in producer.store.costs.read(since) if tenant in (None, one.tenant)]
    rows = added_up(found, tuple(dict.fromkeys(by)))
    if as_json:
        print_json({"since": since.isoformat(), "by": by, "rows": rows, "total": _sums(found)})
    elif rows:
        _print_table(rows, _sums(found), tuple(dict.fromkeys(by)))
    else:
        click.echo(f"No model call has been paid for since {since} in {producer.given.where}.", err=True)


def added_up(costs: Iterable[Cost], by: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each combination of these, in their order; days from the first to the last."""
    groups: dict[tuple[str, ...], list[Cost]] = {}
    for cost in costs:
        groups.setdefault(tuple(str(getattr(cost, name)) for name in by), []).append(cost)
    return [{**dict(zip(by, names, strict=True)), **_sums(groups[names])} for names in sorted(groups)]


def _sums(costs: Sequence[Cost]) -> dict[str, Any]:
    """What these come to. `unpriced_calls`: those whose cost nobody knows, and which `cost` lacks."""
    return {
        "calls": sum(cost.calls for cost in costs),
        "prompt_tokens": sum(cost.prompt_tokens for cost in costs),
        "completion_tokens": sum(cost.completion_tokens for cost in costs),
        "total_tokens": sum(cost.total_tokens for cost in costs),
        "cost": round(sum(cost.cost for cost in costs), 9),
        "unpriced_calls": sum(cost.unpriced for cost in costs),
    }


def _print_table(rows: list[dict[str, Any]], total: dict[str, Any], by: Sequence[str]) -> None:
    told = [[*(name.upper() for name in by), "CALLS", "TOKENS", "COST"]]
    told += [[*(str(row[name]) for name in by), *_told(row)] for row in rows]
    told.append(["in all", *[""] * (len(by) - 1), *_told(total)])
    widths = [max(len(line[at]) for line in told) for at in range(len(told[0]))]
    for line in told:
        left = [text.ljust(width) for text, width in zip(line[: len(by)], widths, strict=False)]
        right = [text.rjust(width) for text, width in zip(line[len(by) :], widths[len(by) :], strict=True)]
        click.echo("  ".join([*left, *right]).rstrip())


def _told(row: dict[str, Any]) -> list[str]:
    used = UsageMetrics(total_tokens=row["total_tokens"], cost=row["cost"], unpriced_requests=row["unpriced_calls"])
    return [f"{row['calls']:,}", tokens(used), money(used)]


__all__ = ["added_up", "costs"]
