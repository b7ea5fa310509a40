"""Configurations like those that others run in production, with shell scripts as programs."""

import os
import pwd
from dataclasses import dataclass, field
from pathlib import Path

SERVER = """
[unix_http_server]
file = %(here)s/s.sock

[supervisorctl]
serverurl = unix://%(here)s/s.sock

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""
FOREGROUND = f"""
[supervisord]
nodaemon = true
user = ROOT
logfile = %(here)s/supervisord.log
pidfile = %(here)s/supervisord.pid
childlogdir = %(here)s
{SERVER}
"""
# Says what it is and what supervisord has made of it, then what it hears, and ends well.
SERVE = """
#!/bin/sh
echo "$0 $*: up as $(id -u), umask $(umask) in $PWD"
grep '^Sig[BI]' /proc/self/status
echo "$0 $*: to stderr" >&2
for signal in HUP INT QUIT TERM USR1 USR2; do
    trap "echo $signal; kill \\$! 2>/dev/null; exit 0" $signal
done
sleep 1000 &
wait
"""
# Answers each event by the protocol of supervisor's event listeners, and tells of it.
LISTEN = """
#!/bin/sh
while :; do
    echo READY
    read -r header || exit 0
    length=${header##*len:}
    payload=$(head -c "$length")
    event=${header##*eventname:}
    echo "${event%% *} ${payload%% pid:*}" >&2
    printf 'RESULT 2\\nOK'
done
"""
# supervisord is to end with the first of its programs, as in many images.
END_WITH = """
#!/bin/sh
while :; do
    echo READY
    read -r header || exit 0
    head -c "${header##*len:}" >&2
    kill -s QUIT "$(cat "$1/supervisord.pid")"
    printf 'RESULT 2\\nOK'
done
"""
SCRIPTS = {"serve": SERVE, "listen": LISTEN, "end-with": END_WITH}


@dataclass
class Shape:
    name: str
    text: str
    settled: dict[str, str]
    """Process -> state, once all is as it stays."""
    asked: list[str] = field(default_factory=list)
    """What is asked of supervisorctl then."""
    after: dict[str, str] = field(default_factory=dict)
    """What that changes of the states."""
    files: dict[str, str] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    status: int | None = 0
    """Exit status after TERM; None where it ends by itself."""

    def write(self, folder: Path, more: str, port: int) -> None:
        """Write the configuration and its programs; `more` is added, `port` is a free one."""
        folder.mkdir()
        for name, text in SCRIPTS.items():
            (folder / name).write_text(text.lstrip())
            (folder / name).chmod(0o755)
        for name, text in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        me = pwd.getpwuid(os.getuid()).pw_name
        text = (
            self.text.replace("PORT", str(port))
            .replace("NOBODY", "nobody" if me == "root" else me)
            .replace("ROOT", me)
        )
        (folder / "supervisord.conf").write_text(text + more)


FRAPPE = Shape(
    "frappe",
    FOREGROUND
    + """
[program:bench-web]
command = %(here)s/serve gunicorn -b 127.0.0.1:8000 -w 4
priority = 4
autostart = true
autorestart = true
stdout_logfile = %(here)s/web.log
stderr_logfile = %(here)s/web.error.log
stopwaitsecs = 40
killasgroup = true
user = NOBODY
directory = /tmp
startretries = 10

[program:bench-short-worker]
command = %(here)s/serve worker --queue short,default
priority = 4
autostart = true
autorestart = true
stdout_logfile = %(here)s/worker.log
stderr_logfile = %(here)s/worker.error.log
user = NOBODY
stopwaitsecs = 360
directory = /tmp
killasgroup = true
numprocs = 2
process_name = %(program_name)s-%(process_num)d
startretries = 10

[program:bench-schedule]
command = /bin/sh -c 'echo tick; exit 3'
priority = 3
autostart = false
startsecs = 0

[program:bench-redis-cache]
command = %(here)s/serve redis-server cache.conf
priority = 1
stdout_logfile = %(here)s/redis.log
stderr_logfile = %(here)s/redis.error.log
user = NOBODY

[group:bench-web]
programs = bench-web

[group:bench-workers]
programs = bench-short-worker,bench-schedule

[group:bench-redis]
programs = bench-redis-cache
priority = 1
""",
    {
        "bench-web": "RUNNING",
        "bench-workers:bench-short-worker-0": "RUNNING",
        "bench-workers:bench-short-worker-1": "RUNNING",
        "bench-workers:bench-schedule": "STOPPED",
        "bench-redis:bench-redis-cache": "RUNNING",
    },
    ["restart bench-web:", "stop bench-workers:bench-short-worker-1", "signal HUP bench-redis:*"],
    {"bench-workers:bench-short-worker-1": "STOPPED", "bench-redis:bench-redis-cache": "EXITED"},
)

ZULIP = Shape(
    "zulip",
    """
[supervisord]
nodaemon = true
user = ROOT
logfile = %(here)s/supervisord.log
logfile_maxbytes = 50MB
loglevel = info
pidfile = %(here)s/supervisord.pid
childlogdir = %(here)s
minfds = 1024
environment = LC_ALL="C.UTF-8",HTTP_proxy=""

[unix_http_server]
file = %(here)s/s.sock
chmod = 0700
chown = NOBODY

[supervisorctl]
serverurl = unix://%(here)s/s.sock

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[include]
files = conf.d/zulip/*.conf conf.d/none-*.conf
""",
    {
        "zulip-django": "RUNNING",
        "zulip-tornado:zulip-tornado-port-9800": "RUNNING",
        "zulip-tornado:zulip-tornado-port-9801": "RUNNING",
        "zulip-workers:zulip_events_missedmessage": "RUNNING",
        "zulip-workers:zulip_deliver_scheduled": "RUNNING",
        "process-fts-updates": "FATAL",
    },
    ["restart zulip-workers:*", "stop zulip-django", "start zulip-django", "tail zulip-django"],
    files={
        "conf.d/zulip/zulip.conf": """
[program:zulip-django]
command = nice -n5 %(here)s/../../serve uwsgi --ini
environment =
    HTTP_proxy="http://a:b@c:4750",PERCENT="100%%",QUOTED="it's, yes",SINGLE='a "b"',HERE="%(here)s"
priority = 100
autostart = true
autorestart = true
stopsignal = INT
redirect_stderr = true
stdout_logfile = %(here)s/server.log
stdout_logfile_maxbytes = 20MB
stdout_logfile_backups = 3
directory = /

[program:zulip-tornado]
command = nice -n5 env PYTHONPATH=x %(here)s/../../serve runtornado :98%(process_num)02d
process_name = zulip-tornado-port-98%(process_num)02d
numprocs = 2
numprocs_start = 0
priority = 200
stopsignal = TERM
redirect_stderr = true
stdout_logfile = %(here)s/tornado-98%(process_num)02d.log

[program:zulip_events_missedmessage]
command = nice -n10 %(here)s/../../serve process_queue --queue_name=missedmessage_emails
priority = 300
stopwaitsecs = 30
stopsignal = TERM
redirect_stderr = true
stdout_logfile = %(here)s/events.log

[program:zulip_deliver_scheduled]
command = nice -n10 %(here)s/../../serve deliver_scheduled_messages
redirect_stderr = true
stdout_logfile = %(here)s/scheduled.log

[program:process-fts-updates]
command = nice -n10 /bin/sh -c 'echo no database yet; exit 1'
startsecs = 1
startretries = 1
redirect_stderr = true
stdout_logfile = %(here)s/fts.log

[group:zulip-workers]
programs = zulip_events_missedmessage, zulip_deliver_scheduled
""",
    },
)

OPENWISP = Shape(
    "openwisp",
    FOREGROUND
    + """
[program:openwisp2]
command = %(here)s/serve uwsgi --ini uwsgi.ini
user = NOBODY
directory = /
autostart = true
autorestart = true
stopsignal = INT
redirect_stderr = true
stdout_logfile = %(here)s/uwsgi.log
stdout_logfile_maxbytes = 30MB
stdout_logfile_backups = 5

[program:celery]
command = %(here)s/serve celery -A openwisp2 worker -l info
user = NOBODY
directory = /
umask = 027
autostart = true
autorestart = true
startsecs = 1
stopwaitsecs = 600
stopasgroup = true
killasgroup = true
priority = 998
stdout_logfile = %(here)s/celery.log
stderr_logfile = %(here)s/celery.log

[program:celerybeat]
command = %(here)s/serve celery -A openwisp2 beat -l info
startsecs = 1
priority = 999
stdout_logfile = NONE
stderr_logfile = NONE

[fcgi-program:daphne]
socket = tcp://127.0.0.1:PORT
command = %(here)s/serve daphne --fd 0 -u %(here)s/daphne%(process_num)d.sock
process_name = asgi%(process_num)d
numprocs = 2
autostart = true
autorestart = true
stopsignal = INT
redirect_stderr = true
stdout_logfile = %(here)s/daphne.log
""",
    {
        "openwisp2": "RUNNING",
        "celery": "RUNNING",
        "celerybeat": "RUNNING",
        "daphne:asgi0": "RUNNING",
        "daphne:asgi1": "RUNNING",
    },
    [
        "stop celerybeat celery",
        "remove celerybeat",
        "add celerybeat",
        "restart daphne:asgi0",
        "signal USR2 openwisp2",
        "reread",
        "update",
    ],
    {"celery": "STOPPED"},
)

SONIC = Shape(
    "sonic",
    f"""
[supervisord]
logfile = %(here)s/supervisord.log
logfile_maxbytes = 1MB
logfile_backups = 2
pidfile = %(here)s/supervisord.pid
childlogdir = %(here)s
nodaemon = true
{SERVER}
"""
    + """
[eventlistener:dependent-startup]
command = python3 -m supervisord_dependent_startup -c %(here)s/supervisord.conf
autostart = true
autorestart = unexpected
startretries = 0
exitcodes = 0,3
events = PROCESS_STATE
buffer_size = 1024
stdout_logfile = NONE
stderr_logfile = NONE

[eventlistener:proc-exit-listener]
stdout_logfile = NONE
command = %(here)s/listen --container-name swss
events = PROCESS_STATE_EXITED
autostart = true
autorestart = unexpected
buffer_size = 1024
stderr_logfile = %(here)s/listener.log

[program:rsyslogd]
command = %(here)s/serve rsyslogd -n
priority = 1
autostart = false
autorestart = unexpected
stdout_logfile = NONE
stdout_syslog = true
stderr_logfile = NONE
stderr_syslog = true
dependent_startup = true

[program:start]
command = /bin/sh -c 'echo prepares; sleep 0.5'
priority = 2
autostart = false
autorestart = false
startsecs = 0
stdout_logfile = %(here)s/start.log
dependent_startup = true
dependent_startup_wait_for = rsyslogd:running

[program:orchagent]
command = %(here)s/serve orchagent
priority = 4
autostart = false
autorestart = false
stdout_logfile = %(here)s/orchagent.log
dependent_startup = true
dependent_startup_wait_for = start:exited
""",
    {
        "dependent-startup": "EXITED",
        "proc-exit-listener": "RUNNING",
        "rsyslogd": "RUNNING",
        "start": "EXITED",
        "orchagent": "RUNNING",
    },
    ["signal TERM orchagent", "status rsyslogd"],
    {"orchagent": "EXITED"},
)

AIRFLOW = Shape(
    "airflow",
    FOREGROUND
    + """
[program:webserver]
command = %(here)s/serve airflow webserver
user = NOBODY
environment = HOME="/home/airflow",USER="airflow",PATH="%(ENV_PATH)s",SECRET="%(ENV_SECRET)s"
stopsignal = QUIT
stopasgroup = true
killasgroup = true
autorestart = true
stdout_logfile = %(here)s/webserver.log
stdout_logfile_backups = 0
redirect_stderr = true

[program:scheduler]
command = /bin/sh -c 'echo runs once more; sleep 1.4; exit 1'
autorestart = unexpected
exitcodes = 0,1
stopsignal = QUIT
stopasgroup = true
stdout_logfile = %(here)s/scheduler.log

[program:worker]
command = /bin/sh -c '%(here)s/serve celery & %(here)s/serve logs & wait'
; A shell has its background jobs ignore QUIT.
stopsignal = TERM
stopasgroup = true
killasgroup = true
stdout_logfile = NONE
stdout_capture_maxbytes = 1MB
""",
    {"webserver": "RUNNING", "scheduler": "EXITED", "worker": "RUNNING"},
    ["restart worker", "tail webserver", "clear webserver", "start scheduler", "avail"],
    environ={"SECRET": "a b$c"},
)

NGINX = Shape(
    "nginx",
    f"""
[supervisord]
nodaemon = true
user = ROOT
logfile = /dev/null
logfile_maxbytes = 0
pidfile = %(here)s/supervisord.pid
{SERVER}
"""
    + """
[program:nginx]
command = %(here)s/serve nginx -g 'daemon off;'
stopsignal = QUIT
stdout_logfile = /dev/stdout
stdout_logfile_maxbytes = 0
stderr_logfile = /dev/stderr
stderr_logfile_maxbytes = 0

[program:app]
command = %(here)s/serve gunicorn app
redirect_stderr = true
stdout_logfile = /dev/fd/1
stdout_logfile_maxbytes = 0
stdout_events_enabled = true
""",
    {"nginx": "RUNNING", "app": "RUNNING"},
    ["restart nginx"],
)

ENDS_WITH_A_PROGRAM = Shape(
    "one-service image",
    FOREGROUND
    + """
[eventlistener:ends]
command = %(here)s/end-with %(here)s
stdout_logfile = NONE
stderr_logfile = NONE
events = PROCESS_STATE_STOPPED,PROCESS_STATE_EXITED,PROCESS_STATE_FATAL

[program:prepares]
command = /bin/sh -c 'echo ready'
priority = 1
startsecs = 0
autorestart = false
autostart = false

[program:serves]
command = %(here)s/serve
autorestart = false
""",
    {"ends": "RUNNING", "prepares": "STOPPED", "serves": "RUNNING"},
    ["signal TERM serves"],
    status=None,
)

DAEMON = Shape(
    "daemon",
    f"""
[supervisord]
logfile = %(here)s/supervisord.log
pidfile = %(here)s/supervisord.pid
childlogdir = %(here)s
identifier = house
directory = /tmp
umask = 027
strip_ansi = true
nocleanup = true
{SERVER}
"""
    + """
[inet_http_server]
port = 127.0.0.1:PORT
username = admin
password = {SHA}82ab876d1387bfafe46cc1c8a2ef074eae50cb1d

[program:plain]
command = %(here)s/serve

[program:early]
command = /bin/sh -c 'echo dies at once; exit 2'
startretries = 0

[include]
files = conf.d/*.ini conf.d/*.conf
""",
    {"plain": "RUNNING", "early": "FATAL", "more:more_07": "RUNNING", "more:more_08": "RUNNING"},
    ["restart plain", "pid", "maintail -1"],
    files={
        "conf.d/more.ini": """
[program:more]
command = /bin/sh -c 'printf "\\033[31mred\\033[0m\\n"; exec %(here)s/../serve'
process_name = %(program_name)s_%(process_num)02d
numprocs = 2
numprocs_start = 7
"""
    },
)

LISTENERS = Shape(
    "listeners",
    FOREGROUND
    + """
[eventlistener:crashmail]
command = crashmail -a -s 'cat >>%(here)s/mail' -m nobody@example.test
buffer_size = 100
events = PROCESS_STATE
stdout_logfile = NONE
stderr_logfile = %(here)s/crashmail.log

[eventlistener:log]
stdout_logfile = NONE
command = %(here)s/listen
events = PROCESS_STATE_FATAL,PROCESS_STATE_EXITED,PROCESS_COMMUNICATION,PROCESS_LOG
buffer_size = 100
stderr_logfile = %(here)s/listener.log

[program:talks]
command = /bin/sh -c 'printf "<!--XSUPERVISOR:BEGIN-->said<!--XSUPERVISOR:END-->"; exec sleep 1000'
stdout_capture_maxbytes = 1MB

[program:logs]
command = /bin/sh -c 'sleep 0.5; echo a line; exec sleep 1000'
stdout_events_enabled = true

[program:fails]
command = /bin/sh -c 'sleep 0.5; exit 9'
startsecs = 0
autorestart = false

[rpcinterface:others]
supervisor.rpcinterface_factory = tests.supervision.others:make
""",
    {
        "crashmail": "RUNNING",
        "log": "RUNNING",
        "talks": "RUNNING",
        "logs": "RUNNING",
        "fails": "EXITED",
        "logs:added": "RUNNING",
    },
    ["restart talks", "stop logs:added"],
    {"logs:added": "STOPPED"},
    environ={"PYTHONPATH": str(Path(__file__).parents[2])},
)

SHAPES = [
    FRAPPE, ZULIP, OPENWISP, SONIC, AIRFLOW, NGINX, ENDS_WITH_A_PROGRAM, DAEMON, LISTENERS,
]  # fmt: skip
