"""This layout's worker, with a task that leaves a mark and does nothing else."""

import os

import marks

import example
import example.tasks

seen = marks.Marks(os.environ["MARKS"])


async def work(item: str) -> None:
    seen.add(marks.NOOP)


if __name__ == "__main__":
    example.tasks.work = work
    example.start_worker()
