# syntax=docker/dockerfile:1

# One image for all of a deployment: the code location (as it starts by default), Dagster's webserver and its daemon.
#
#   docker build --tag customerio-syncs .
#
# For a project of your own, copy this file, and let the lines marked "yours" name what is yours.

# The version that the tests run on.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build

RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /build

# Yours: your own project, which depends on cio_dagster, with constraints of its own.
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY cio_dagster ./cio_dagster

# Yours: the extra of your warehouse, in place of postgres.
ARG EXTRAS=server,k8s,postgres
RUN pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]"


FROM python:${PYTHON}-slim

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DAGSTER_HOME=/opt/dagster \
    CIO_STATE=/var/lib/cio_dagster

# New volumes that are mounted at these folders are that user's, as the folders are.
RUN useradd --uid 10001 --create-home dagster \
    && install --directory --owner=dagster --group=dagster --mode=0700 \
        /opt/dagster /var/lib/cio_dagster /var/lib/warehouse /var/log/dagster

COPY --from=build /opt/venv /opt/venv

WORKDIR /opt/project
# Yours: the definitions and what they read. (pyproject.toml says where `defs` is.)
COPY pyproject.toml definitions.py ./
COPY sql ./sql
COPY defs ./defs
COPY demo ./demo

USER 10001:10001
EXPOSE 4000

# Of the code location; the webserver and the daemon have commands and checks of their own, in deploy/.
HEALTHCHECK --interval=30s --timeout=15s --start-period=60s --retries=3 \
    CMD ["dagster", "api", "grpc-health-check", "--port", "4000"]
CMD ["dagster", "api", "grpc", "--host", "0.0.0.0", "--port", "4000", "--python-file", "definitions.py"]
