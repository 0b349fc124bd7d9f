# The image of the service: one virtual environment on Debian's slim Python, no compiler, no package manager of ours.
#
#   docker build --tag exchange-sidecar:dev .
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges exchange-sidecar:dev config check
#
# A release also passes PYTHON_DIGEST, so that the tag cannot move under it, and the four label arguments. The digest has
# no default: one written here would age in silence, and keep security updates of the base out.
ARG PYTHON_DIGEST=""

FROM python:3.13-slim-trixie${PYTHON_DIGEST:+@${PYTHON_DIGEST}} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# What others wrote comes first: it changes seldom, and every file is checked against the lock. Only wheels are taken,
# so no foreign build script runs and no compiler is needed.
COPY requirements.lock requirements-dev.lock ./
RUN python -m pip wheel --quiet --require-hashes --only-binary :all: --wheel-dir /wheels --requirement requirements.lock
# The build backend and what it needs, at the versions and hashes that development uses.
RUN awk '/^[a-z]/ { keep = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/ } keep' requirements-dev.lock \
        > build.lock \
    && python -m pip install --quiet --require-hashes --no-deps --only-binary :all: --requirement build.lock

COPY LICENSE README.md pyproject.toml ./
COPY clients/python clients/python
COPY sidecar sidecar
RUN python -m pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir /own-wheels ./clients/python .

# Modules are compiled here, because a read-only root cannot keep what Python would compile at the first start.
RUN python -m venv --without-pip /opt/exchange \
    && python -m pip --python /opt/exchange/bin/python install --quiet --no-index --find-links /wheels --compile \
        --require-hashes --requirement requirements.lock \
    && python -m pip --python /opt/exchange/bin/python install --quiet --no-index --no-deps --compile /own-wheels/*.whl \
    && python -m pip --python /opt/exchange/bin/python check


FROM python:3.13-slim-trixie${PYTHON_DIGEST:+@${PYTHON_DIGEST}}
ARG VERSION="0.0.0"
ARG REVISION="unknown"
ARG CREATED="1970-01-01T00:00:00Z"
ARG SOURCE=""
LABEL org.opencontainers.image.title="exchange-sidecar" \
      org.opencontainers.image.description="Keeps Microsoft Exchange room calendars in step, behind a gRPC API." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"

# A number and no name: Kubernetes can check runAsNonRoot only on numbers.
RUN install --directory --owner 65532 --group 65532 --mode 0750 /var/lib/exchange /run/exchange
COPY --from=build /opt/exchange /opt/exchange

# The probe listener is on loopback unless told otherwise; the health check below asks it there.
ENV PATH=/opt/exchange/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    EXCHANGE_PROBES__LISTEN=127.0.0.1:9464

USER 65532:65532
# The only places that are written to; as volumes they stay writable under a read-only root.
VOLUME ["/var/lib/exchange", "/run/exchange", "/tmp"]
EXPOSE 50551 8080 9464

# Ready means that the service can answer its callers. Docker and Compose use this; Kubernetes has its own probes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/opt/exchange/bin/python", "-I", "-c", \
    "import http.client as h, os; c = h.HTTPConnection('127.0.0.1', int(os.environ['EXCHANGE_PROBES__LISTEN'].rpartition(':')[2]), timeout=4); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]

ENTRYPOINT ["exchange-sidecar"]
CMD ["serve"]
