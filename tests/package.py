"""The package as the machinery's tests run it: with api, schedule and tasks from tests/demo/.

So these tests pass in every copy of the project, whatever its own files are.
"""

from pathlib import Path

ROOT = Path(__file__).parent.parent
DEMOS = ("api", "schedule", "tasks")


def demo(name: str) -> str:
    """The text of api, schedule or tasks of tests/demo/, for a test that adds to it."""
    return (ROOT / "tests" / "demo" / f"{name}.py").read_text()


def package(folder: Path, **files: str) -> str:
    """Make the package in `folder`, with the text of its modules that are named.

    Returns the PYTHONPATH that leads to it.
    """
    home = folder / "example"
    home.mkdir(parents=True)
    files = {name: demo(name) for name in DEMOS} | files
    for part in (ROOT / "example").iterdir():
        if part.stem not in (*files, "__pycache__"):
            (home / part.name).symlink_to(part)
    for name, text in files.items():
        (home / f"{name}.py").write_text(text)
    return str(folder)
