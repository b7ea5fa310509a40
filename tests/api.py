"""The Web API as a client sees it."""

from urllib.request import urlopen


class Api:
    """Whatever has the API on a port of this machine."""

    port: int

    def get(self, path: str = "/") -> str:
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def answers(self) -> bool:
        try:
            return self.get() == "Hello, world!"
        except OSError:
            return False
