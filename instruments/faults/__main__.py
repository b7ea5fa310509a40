"""scripts/faults: every fault under every launcher, for real."""

import argparse
import signal
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime

from tests.layout import ROOT

from . import report
from .columns import COLUMNS, Column
from .report import Cell
from .scene import Seen, Skip
from .table import FAULTS, Fault, play


def main() -> int:
    options = _options()
    faults = [fault for fault in FAULTS if options.only in fault.name]
    columns = [column for column in COLUMNS if column.name in options.columns]
    # A shell that starts this in the background ignores Ctrl-C, and so would all launchers.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    when = datetime.now(UTC)
    cells = _play_all(faults, columns, options.jobs)
    _print_table(faults, columns, cells)
    if faults == FAULTS and columns == COLUMNS:
        docs = ROOT / "docs"
        docs.mkdir(exist_ok=True)
        (docs / "faults.md").write_text(report.markdown(faults, cells, when, options.jobs))
        (docs / "faults.svg").write_text(report.svg(faults, cells, when))
        print("wrote docs/faults.md and docs/faults.svg")
    return _judge(faults, cells)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    names = [column.name for column in COLUMNS]
    parser.add_argument("--only", default="", metavar="TEXT", help="faults with TEXT in their name")
    parser.add_argument("--columns", nargs="+", choices=names, default=names)
    parser.add_argument("--jobs", type=int, default=6, help="cells at a time (default: 6)")
    return parser.parse_args()


def _play_all(faults: list[Fault], columns: list[Column], jobs: int) -> dict[tuple[str, str], Cell]:
    cells: dict[tuple[str, str], Cell] = {}
    with ThreadPoolExecutor(jobs) as pool:
        # The longest first, so that the last one is short.
        wanted = [(fault, column) for fault in faults for column in columns]
        wanted.sort(key=lambda each: -each[0].patience)
        running = {pool.submit(_play, *each): each for each in wanted}
        for done in as_completed(running):
            fault, column = running[done]
            cells[fault.name, column.name] = done.result()
            words = f"{fault.name} · {column.title}: {report.text(fault, done.result())}"
            _progress(len(cells), len(wanted), words)
    return cells


def _play(fault: Fault, column: Column) -> Cell:
    try:
        return play(fault, column)
    except Skip as why:
        return str(why)
    except Exception:
        return f"failed to run\n{traceback.format_exc()}"


def _progress(done: int, of: int, words: str) -> None:
    if not sys.stderr.isatty():
        print(f"{done}/{of} {words}", file=sys.stderr, flush=True)
        return
    bar = "#" * (done * 30 // of)
    print(f"\r\033[K[{bar:<30}] {done}/{of} {words[:80]}", end="", file=sys.stderr, flush=True)
    if done == of:
        print(file=sys.stderr)


def _print_table(
    faults: list[Fault], columns: list[Column], cells: dict[tuple[str, str], Cell]
) -> None:
    rows = [["fault", *(column.title for column in columns)]]
    for fault in faults:
        texts = (report.text(fault, cells[fault.name, column.name]) for column in columns)
        rows.append([fault.name, *(words.partition("\n")[0] for words in texts)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)))


def _judge(faults: list[Fault], cells: dict[tuple[str, str], Cell]) -> int:
    """1 if our own column breaks a promise, or a cell could not be run."""
    wrong = [f"{key}: {cell}" for key, cell in cells.items() if "failed to run" in str(cell)]
    for fault in faults:
        seen = cells.get((fault.name, "ours"))
        if isinstance(seen, Seen) and (broken := fault.promise.broken(seen)):
            wrong.append(f"promise broken: {fault.name}: {'; '.join(broken)}")
    print("\n".join(wrong) or "every promise of our supervisord.conf is kept")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
