# One image for every role: the environment says how many of each program run; see docs/image.md.
# BASE may be any Debian-like image that has Python 3.11 or newer as `python3`. BUILD_BASE needs the
# same Python with pip, venv and binutils; nothing of it is left in the image.
ARG BASE=docker.io/library/python:3.13-slim-trixie
ARG BUILD_BASE=docker.io/library/python:3.13-trixie

FROM ${BUILD_BASE} AS dependencies
WORKDIR /srv
COPY requirements-image.txt .
# The venv has no pip, since nothing in the image installs anything. What nothing uses is removed:
# debug symbols, supervisor's tests, and the client that the Redis server's wheel depends on. The
# server itself is found on PATH. Compiled files hold a hash of their source instead of its time, so
# that two builds are the same.
RUN python3 -m venv --without-pip .venv \
    && python3 -m pip --python .venv/bin/python install --no-cache-dir --no-compile \
        --require-hashes --requirement requirements-image.txt \
    && python3 -m pip --python .venv/bin/python uninstall --yes valkey \
    && ln -s "$(find /srv/.venv -name valkey-server)" .venv/bin/ \
    && rm -r .venv/lib/python3.*/site-packages/supervisor/tests \
    && find .venv -name '*.so' -exec strip --strip-unneeded {} + \
    && .venv/bin/python -m compileall -q --invalidation-mode checked-hash .venv/lib

FROM dependencies AS project
COPY requirements-build.txt .
RUN python3 -m pip --python .venv/bin/python install --no-cache-dir --require-hashes \
        --requirement requirements-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY example example
# The project has a folder of its own, so a change of code keeps the layer of the dependencies.
RUN python3 -m pip --python .venv/bin/python install --no-cache-dir --no-compile --no-deps \
        --no-build-isolation --prefix /project . \
    && .venv/bin/python -m compileall -q --invalidation-mode checked-hash \
        -s /project -p /srv/.venv /project

FROM ${BASE}
WORKDIR /srv
# Any user may write here: the cluster chooses which user runs the image.
RUN install --directory --mode=1777 var /data
COPY --from=dependencies /srv/.venv .venv
COPY --from=project /project .venv
COPY supervisord.conf .
COPY supervisord.d/README.conf supervisord.d/
COPY deploy/image image

ENV PATH=/srv/.venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PORT=5000 \
    DASHBOARD_HOST=:: \
    HEALTH_FILE=/srv/var/alive \
    REDIS_DIR=/data \
    APP_PROCESSES=2 \
    BEAT=2 \
    WORKER_PROCESSES=1

USER 10001:10001
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 CMD ["example-health"]
ENTRYPOINT ["/srv/image/entrypoint"]
CMD ["supervisord", "-c", "/srv/image/supervisord.conf"]

# These come last, since they differ in each build.
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
ARG SOURCE=unknown
ARG BASE
ARG BASE_DIGEST=unknown
LABEL org.opencontainers.image.title="example" \
      org.opencontainers.image.description="Web API, cron and queue worker under supervisord" \
      org.opencontainers.image.licenses="BSD-3-Clause" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.base.digest="${BASE_DIGEST}"
