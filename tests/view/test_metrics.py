"""metrics: what Prometheus reads, and the alerts and the dashboard that are made of it."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from example.runtime.snapshot import Entry, Snapshot
from example.view import metrics, troubles
from example.view.programs import Program

from ..layout import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool is not there (Debian: prometheus)"
)

LIMIT = 4  # of items that may wait
SNAPSHOT = Snapshot(
    time=1000.5,
    waiting=3,
    in_hand=2,
    retrying=1,
    later=4,
    dead=5,
    oldest_seconds=61.5,
    workers=2,
    totals=dict.fromkeys(metrics.TOTALS, 7),
    rates={},
    run_seconds={"sum": 1.5, "count": 10, "p50": 0.1, "p95": 0.2, "p99": 0.4},
    run_counts=[3, 4, 2, *[0] * 9, 1],
    samples=[],
    ages=[],
    listed=3,
    put_off=3,
    oldest_is_least=False,
    sampled=1000.0,
    refusal="",
    unreadable=[],
    schedule=[Entry('odd "name"\n\udcff', 999.5, 2), Entry("never", None, 0)],
)
WORKER = Program(
    name="worker:worker_00",
    group="worker",
    program="worker",
    pid=7,
    state="RUNNING",
    ready=True,
    status="",
    restarts=3,
    memory=1 << 33,
    cpu_seconds=1.25,
    silent_seconds=0.5,
    uptime_seconds=60.0,
    last_exit="terminated by SIGKILL",
    last_exit_at=900.0,
    last_exit_code=-9,
    counts={},
)
APP = replace(WORKER, name="app:app_00", counts={"requests": 12, "connections": 2})
FRESH = replace(WORKER, name="fresh", pid=0, state="BACKOFF", ready=False, memory=None)


def read(snapshot: Snapshot | None, programs: list[Program] | None) -> dict[str, float]:
    """name{label="value",…} -> value, by the client's own parser, without the label `program`."""
    found = {}
    text = metrics.text(snapshot, LIMIT, programs).decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = [f"{k}={v}" for k, v in sorted(sample.labels.items()) if k != "program"]
            found[f"{sample.name}{{{','.join(labels)}}}"] = sample.value
    return found


def test_everything_known_is_there() -> None:
    found = read(SNAPSHOT, [APP, WORKER, FRESH])
    for name, value in {
        "queue_up{}": 1,
        "queue_items{state=waiting}": 3,
        "queue_items{state=dead}": 5,
        "queue_refuses_writes{}": 0,
        "queue_full{}": 0,
        "queue_silent_seconds{}": 0,
        "queue_oldest_item_age_seconds{}": 61.5,
        "queue_workers{}": 2,
        "queue_pushed_total{}": 7,
        "queue_redelivered_total{}": 7,
        "queue_run_seconds_sum{}": 1.5,
        "queue_run_seconds_count{}": 10,
        "queue_run_seconds_bucket{le=0.003}": 7,
        "queue_run_seconds_bucket{le=300.0}": 9,
        "queue_run_seconds_bucket{le=+Inf}": 10,
        'schedule_last_tick_timestamp_seconds{entry=odd "name"\n?}': 999.5,
        "schedule_missed_ticks_total{entry=never}": 0,
        "supervisord_up{}": 1,
        "supervisord_process_up{process=fresh}": 0,
        "supervisord_process_ready{process=worker:worker_00}": 1,
        "supervisord_process_state{process=fresh,state=BACKOFF}": 1,
        "supervisord_process_state{process=fresh,state=RUNNING}": 0,
        "supervisord_process_restarts_total{process=worker:worker_00}": 3,
        "supervisord_process_last_exit_code{process=worker:worker_00}": -9,
        "supervisord_process_last_exit_timestamp_seconds{process=worker:worker_00}": 900,
        "supervisord_process_resident_memory_bytes{process=worker:worker_00}": 1 << 33,
        "supervisord_process_cpu_seconds_total{process=worker:worker_00}": 1.25,
        "supervisord_process_silent_seconds{process=worker:worker_00}": 0.5,
        "app_requests_total{process=app:app_00}": 12,
        "app_connections{process=app:app_00}": 2,
    }.items():
        assert found[name] == value, name
    assert "schedule_last_tick_timestamp_seconds{entry=never}" not in found
    assert "supervisord_process_resident_memory_bytes{process=fresh}" not in found
    assert "app_requests_total{process=worker:worker_00}" not in found


def test_what_does_not_answer_is_marked_and_the_rest_stays() -> None:
    found = read(None, [WORKER])
    assert found["queue_up{}"] == 0
    assert found["supervisord_process_up{process=worker:worker_00}"] == 1
    found = read(SNAPSHOT, None)
    assert found["supervisord_up{}"] == 0
    assert found["queue_items{state=waiting}"] == 3
    assert read(None, None) == {"queue_up{}": 0, "supervisord_up{}": 0}


def test_an_age_that_is_not_known_is_not_zero() -> None:
    unknown = replace(SNAPSHOT, oldest_seconds=None)
    age = "queue_oldest_item_age_seconds{}"
    assert age not in read(unknown, None)
    assert read(replace(unknown, waiting=0), None)[age] == 0
    nobody = replace(SNAPSHOT, workers=0)
    assert read(nobody, None)["queue_silent_seconds{}"] == 0.5
    assert "queue_silent_seconds{}" not in read(replace(nobody, sampled=None), None)


def test_the_alerts_judge_as_the_page_and_the_command_do() -> None:
    """Where they tell of a trouble, its expression holds, and nowhere else."""
    alerts = (PROMETHEUS / "alerts.yml").read_text()
    assert f"queue_oldest_item_age_seconds > {troubles.LATE_SECONDS:.0f}\n" in alerts
    assert f"queue_silent_seconds > {troubles.SILENT_SECONDS:.0f}\n" in alerts
    for listed in (LIMIT - 1, LIMIT):
        now = replace(SNAPSHOT, listed=listed)
        told = any("full" in each.text for each in troubles.of_queue(now, LIMIT))
        assert read(now, None)["queue_full{}"] == told == (listed == LIMIT)


@needs_promtool
def test_names_are_as_prometheus_wants_them() -> None:
    text = metrics.text(SNAPSHOT, LIMIT, [APP, WORKER])
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@needs_promtool
def test_each_alert_comes_when_it_must(folder: Path) -> None:
    shutil.copytree(PROMETHEUS, folder, dirs_exist_ok=True)
    shutil.copy(Path(__file__).with_name("alerts.test.yml"), folder)
    (folder / "dashboard.token").touch()
    promtool(folder, "check", "config", "prometheus.yml")
    promtool(folder, "test", "rules", "alerts.test.yml")


@needs_promtool
def test_each_expression_of_the_dashboard_can_be_asked(folder: Path) -> None:
    rules = [
        {"record": f"expression{n}", "expr": expr.replace("$__rate_interval", "1m")}
        for n, expr in enumerate(expressions())
    ]
    (folder / "rules.yml").write_text(json.dumps({"groups": [{"name": "x", "rules": rules}]}))
    promtool(folder, "check", "rules", "rules.yml")


def test_alerts_and_dashboard_ask_only_for_metrics_that_exist() -> None:
    """And each alert names a part of docs/operations.md that is there."""
    alerts = (PROMETHEUS / "alerts.yml").read_text()
    asked = re.findall(
        r"\b(?:queue|schedule|supervisord|app)_\w+", alerts + json.dumps(expressions())
    )
    told = {name.partition("{")[0] for name in read(SNAPSHOT, [APP])}
    assert set(asked) <= told
    headings = re.findall(r"(?m)^#+ (.*)", (ROOT / "docs" / "operations.md").read_text())
    anchors = {each.lower().replace(" ", "-") for each in headings}
    assert set(re.findall(r"operations\.md#(\S+)", alerts)) <= anchors


def expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def promtool(folder: Path, *words: str) -> None:
    done = subprocess.run(["promtool", *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
