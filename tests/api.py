"""The Web API as a client sees it."""

from urllib.request import urlopen


class Api:
    """Whatever has the API on a port of this machine."""

    port: int

    def get(self, path: str = "/", host: str = "127.0.0.1") -> str:
        with urlopen(f"http://{host}:{self.port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def answers(self, host: str = "127.0.0.1") -> bool:
        try:
            return self.get(host=host) == "Hello, world!"
        except OSError:
            return False
