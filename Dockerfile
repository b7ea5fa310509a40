# One image for every role: how many of which program run is configuration; see docs/image.md.
# Any base that has Python 3.11 or newer as `python3`, with pip and venv, will do.
ARG BASE=docker.io/library/python:3.13-slim-trixie

FROM ${BASE} AS dependencies
WORKDIR /srv
COPY requirements-image.txt .
# Without pip: nothing in the image installs anything.
RUN python3 -m venv --without-pip .venv \
    && python3 -m pip --python .venv/bin/python install --no-cache-dir --require-hashes \
        --requirement requirements-image.txt

FROM dependencies AS project
COPY requirements-build.txt .
RUN python3 -m pip --python .venv/bin/python install --no-cache-dir --require-hashes \
        --requirement requirements-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY example example
# Into a folder of its own: a change of code leaves the layer of the dependencies alone.
RUN python3 -m pip --python .venv/bin/python install --no-cache-dir --no-deps \
        --no-build-isolation --prefix /project .

FROM ${BASE}
WORKDIR /srv
# Open to any user: which one runs it is the cluster's choice.
RUN install --directory --mode=1777 var /data
COPY --from=dependencies /srv/.venv .venv
COPY --from=project /project .venv
COPY supervisord.conf .
COPY deploy/image.conf supervisord.d/

ENV PATH=/srv/.venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PORT=5000 \
    REDIS_DIR=/data \
    APP_PROCESSES=2 \
    BEAT=1 \
    WORKER_PROCESSES=1

USER 10001:10001
VOLUME /data
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 CMD ["example-health"]
CMD ["supervisord", "-c", "/srv/supervisord.conf"]

# Last, since they differ with each build.
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="example" \
      org.opencontainers.image.description="Web API, cron and queue worker under supervisord" \
      org.opencontainers.image.licenses="BSD-3-Clause" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
