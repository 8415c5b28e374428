"""Describes tables. What it exports is said in `wit/table.wit`; nothing here knows Tradewind."""

import csv
import io
import statistics
import sys

from componentize_py_types import Err
from wit_world import Cell, Group, Problem_NoRows, Problem_NoSuchColumn, Problem_NotANumber
import wit_world


class WitWorld(wit_world.WitWorld):
    def columns(self, csv: str) -> list[str]:
        return list(read(csv).fieldnames or [])

    def describe(self, csv: str, column: str, by: str | None) -> list[Group]:
        table = read(csv)
        for wanted in [column] if by is None else [column, by]:
            if wanted not in (table.fieldnames or []):
                raise Err(Problem_NoSuchColumn(wanted))
        groups: dict[str, list[float]] = {}
        for row in table:
            name = column if by is None else row[by]
            groups.setdefault(name or "", []).append(number(row, column, table.line_num))
        if not groups:
            raise Err(Problem_NoRows())
        # The log of the task.
        print(f"{sum(map(len, groups.values()))} rows, {len(groups)} groups", file=sys.stderr)
        return [describe(name, numbers) for name, numbers in sorted(groups.items())]


def read(text: str) -> csv.DictReader:
    return csv.DictReader(io.StringIO(text, newline=""))


def number(row: dict[str, str], column: str, line: int) -> float:
    try:
        return float(row[column])
    except (TypeError, ValueError):
        raise Err(Problem_NotANumber(Cell(line, column, row[column] or ""))) from None


def describe(name: str, numbers: list[float]) -> Group:
    return Group(
        name=name,
        rows=len(numbers),
        mean=round(statistics.fmean(numbers), 2),
        median=round(statistics.median(numbers), 2),
        deviation=round(statistics.stdev(numbers), 2) if len(numbers) > 1 else None,
        bounds=(min(numbers), max(numbers)),
    )
