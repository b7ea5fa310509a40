"""The environment, read and checked once."""

import subprocess
from pathlib import Path

import pytest

from example.runtime.environment import SettingsError
from example.settings import Settings

from .launchers import SCRIPTS

PROGRAMS = ["example-app", "example-beat", "example-worker", "example-redis"]


def problems(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Settings.load(environ)
    return str(caught.value).splitlines()


def test_what_is_set_is_read() -> None:
    settings = Settings.load({"PORT": "8080", "LOG_LEVEL": "DEBUG", "DRAIN_SECONDS": "0.5"})
    assert settings.port == 8080
    assert settings.log_level == "debug"
    assert settings.drain_seconds == 0.5


@pytest.mark.parametrize(
    ("wrapped", "what"),
    [
        ("'{}'", "quotes"),
        ('"{}"', "quotes"),
        (" {}", "blanks"),
        ("{}\r", "blanks"),
        ("\ufeff{}", "a byte order mark"),
    ],
)
@pytest.mark.parametrize(("variable", "value"), [("REDIS_URL", "redis://h"), ("REDIS_KEY", "x")])
def test_what_is_around_a_value_is_named(
    wrapped: str, what: str, variable: str, value: str
) -> None:
    """Of a secret too: the value itself is not shown."""
    (problem,) = problems(**{variable: wrapped.format(value)})
    assert problem.startswith(f"wrong setting: {variable}: has {what} ")
    assert "redis://h" not in problem


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "many"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", ""),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("DRAIN_SECONDS", "nan"),
        ("DRAIN_SECONDS", "-1"),
        ("REDIS_KEY", ""),
        ("HOST", ""),
        ("REDIS_URL", ""),
        ("REDIS_URL", "localhost"),
        ("REDIS_URL", "http://localhost"),
        ("REDIS_URL", "redis://"),
        ("REDIS_URL", "redis://localhost:port"),
        ("REDIS_URL", "redis://localhost/one"),
        ("REDIS_URL", "redis://[::1"),
        ("REDIS_URL", "redis://:pass#word@localhost"),
        ("REDIS_URL", "unix://"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_accepted(variable: str, value: str) -> None:
    (problem,) = problems(**{variable: value})
    assert problem.startswith(f"wrong setting: {variable}: ")
    assert " is not " in problem


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://:secret@10.0.0.1:6380/2",
        "rediss://user:secret@redis.internal",
        "redis://[::1]:6379",
        "unix:///run/redis.sock",
        "unix://:secret@/run/redis.sock?db=1",
        "redis://localhost?protocol=2&client_name=x",
        "rediss://localhost?ssl_cert_reqs=none&ssl_check_hostname=false",
        "rediss+sentinel://:a@b,c:1/x/2?ssl_cert_reqs=optional&sentinel_password=d",
        "rediss+cluster://:a@b,c:1?ssl_min_version=771",
    ],
)
def test_the_usual_redis_urls_are_accepted(url: str) -> None:
    assert Settings.load({"REDIS_URL": url}).redis_url == url


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://localhost?no_such_option=1", "there is no option 'no_such_option'"),
        ("redis://localhost?decode_responses=true", "there is no option 'decode_responses'"),
        ("redis://localhost?ssl_cert_reqs=none", "'ssl_cert_reqs'; for rediss:// only"),
        ("redis://localhost?protocol=7", "the option protocol is wrong: protocol must be either"),
        ("unix:///run/redis.sock?protocol=x", "the option protocol is wrong: Invalid value"),
        ("redis://localhost?protocol=", "the option protocol has no value"),
        ("redis://localhost?socket_keepalive=x", "socket_keepalive is not true or false"),
        ("unix:///run/redis.sock?socket_keepalive=true", "the option socket_keepalive is wrong"),
        ("rediss://localhost?ssl_no_such=1", "the option ssl_no_such is wrong"),
        ("rediss://localhost?ssl_cert_reqs=some", "the option ssl_cert_reqs is wrong"),
        ("rediss://localhost?ssl_check_hostname=some", "ssl_check_hostname is not true or false"),
        ("rediss+sentinel://a,b/x?ssl_ca_certs=/nowhere", "ssl_ca_certs is wrong: No such file"),
        ("rediss+cluster://a?ssl_ca_certs=/dev/null", "ssl_ca_certs is wrong: no such certificate"),
        ("redis://some%20body:secret@localhost", "its user name holds a blank"),
        ("redis://localhost?username=some%0Abody", "its user name holds a blank"),
        ("redis://localhost?sentinel_password=x", "is for redis+sentinel:// only"),
    ],
)
def test_a_wrong_part_of_the_redis_url_is_named(url: str, told: str) -> None:
    (problem,) = problems(REDIS_URL=url)
    assert "secret" not in problem
    assert problem.startswith("wrong setting: REDIS_URL: ")
    assert told in problem


@pytest.mark.parametrize(
    ("variable", "accepts"),
    [
        ("QUEUE_LIMIT", "a whole number from 1 to 1000000000000"),
        ("JOB_TIMEOUT", "a number of seconds from 0.001 to 1000000"),
        ("DRAIN_SECONDS", "a number of seconds from 0 to 3600"),
        ("LOG_LEVEL", "info, debug, warning or error"),
    ],
)
@pytest.mark.parametrize("value", ["x", "", "-1", "1_0", "9" * 20])
def test_the_message_gives_the_range(variable: str, accepts: str, value: str) -> None:
    assert problems(**{variable: value}) == [
        f"wrong setting: {variable}: {value!r} is not {accepts}"
    ]


def test_all_wrong_values_are_reported_at_once() -> None:
    told = problems(PORT="x", LOG_LEVEL="x", REDIS_URL="x", HOST_FILE="/nowhere")
    assert [line.split(": ")[1] for line in told] == ["REDIS_URL", "HOST_FILE", "PORT", "LOG_LEVEL"]


def test_how_to_write_a_password_in_a_url_is_told() -> None:
    assert "each of @ : / ? # % is written" in problems(REDIS_URL="redis://:a/b@localhost")[0]


@pytest.mark.parametrize(
    "url",
    [
        "http://:hunter2@localhost",
        "redis://me:20?hunter2@localhost",
        "redis://me:20?hunter2=a&b@localhost",
    ],
)
def test_a_secret_is_not_shown(url: str) -> None:
    """Nor the rest of a password with a bare ? in it, which looks like an option."""
    assert "hunter2" not in problems(REDIS_URL=url)[0]


def test_a_file_can_hold_the_value(folder: Path) -> None:
    """NAME_FILE, as container secrets are mounted; the line's end does not count."""
    (folder / "url").write_text("redis://:hunter2@localhost\n")
    assert Settings.load({"REDIS_URL_FILE": f"{folder}/url"}).redis_url.endswith("@localhost")


def test_a_file_that_cannot_be_read_is_reported(folder: Path) -> None:
    (folder / "bin").write_bytes(b"\xff")
    assert "REDIS_URL_FILE: cannot read" in problems(REDIS_URL_FILE=f"{folder}/nowhere")[0]
    assert "not a UTF-8 text file" in problems(REDIS_URL_FILE=f"{folder}/bin")[0]


def test_name_and_file_together_are_refused(folder: Path) -> None:
    assert "not both" in problems(PORT="1", PORT_FILE=f"{folder}/port")[0]


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_ends_with_2_on_a_wrong_setting(program: str) -> None:
    done = subprocess.run(
        [SCRIPTS / program],
        env={"PORT": "many", "LOG_LEVEL": "loud"},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 2
    assert "wrong setting: PORT: 'many' is not a whole number from 1 to 65535" in done.stderr
    assert "wrong setting: LOG_LEVEL" in done.stderr
    assert "Traceback" not in done.stderr
