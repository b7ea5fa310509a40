"""supervisord on the shipped configuration."""

from .layout import Layout


def test_everything_comes_up_and_works(layout: Layout) -> None:
    """Each program says that it is ready; the API answers; pushes are worked, and both show."""
    assert layout.get() == "Hello, world!"
    layout.push(b"by hand")
    layout.eventually(lambda: "WORKING: by hand" in layout.stdout())
    layout.eventually(lambda: layout.stdout().count("PUSH") >= 3)
    layout.eventually(lambda: layout.stdout().count("WORKING: OK: ") >= 2)
