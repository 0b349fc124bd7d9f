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

# Wheels bring symbols that only a debugger reads, a quarter of all that is installed. This comes from Debian, for this stage
# alone; its version is Debian's to choose, as that of the base is.
# hadolint ignore=DL3008
RUN apt-get update -qq && apt-get install --yes -qq --no-install-recommends binutils

# What others wrote comes first: it changes seldom, and every file is checked against the lock. Only wheels are taken,
# so no foreign build script runs and no compiler is needed. Sources of extensions and tests go with the symbols. What a
# wheel patched into its own .libs stays as it is.
COPY requirements.lock ./
RUN python -m venv --without-pip /opt/exchange \
    && python -m pip --python /opt/exchange/bin/python install --quiet --require-hashes --only-binary :all: --no-compile \
        --requirement requirements.lock \
    && find /opt/exchange -name "*.so" ! -path "*.libs/*" -exec strip --strip-unneeded {} + \
    && find /opt/exchange -type f "(" -path "*/tests/*" -o -name "*.py[ix]" -o -name "*.pxd" -o -name "*.[ch]" -o -name "*.cpp" ")" \
        -delete
# The build backend, the writer of the bill of materials and what they need, as development locks them.
COPY requirements-dev.lock ./
RUN awk -v names=" hatchling packaging pathspec pluggy tomlkit trove-classifiers cyclonedx-bom \
            boolean-py chardet cyclonedx-python-lib defusedxml license-expression packageurl-python pip-requirements-parser \
            py-serializable pyparsing sortedcontainers typing-extensions " \
        '/^[a-z]/ { split($0, line, "=="); keep = index(names, " " line[1] " ") } keep' requirements-dev.lock \
        > build.lock \
    && python -m pip install --quiet --require-hashes --no-deps --only-binary :all: --requirement build.lock

COPY LICENSE README.md pyproject.toml ./
COPY clients/python clients/python
COPY sidecar sidecar
RUN python -m pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir /own-wheels ./clients/python . \
    && python -m pip --python /opt/exchange/bin/python install --quiet --no-index --no-deps --no-compile /own-wheels/*.whl \
    && python -m pip --python /opt/exchange/bin/python check

# The bill of materials says what is in the environment now; the facts say what it was made from.
ARG VERSION="0.1.0"
ARG REVISION=""
ARG CREATED=""
RUN cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --no-validate --output-format JSON \
        --output-file /opt/exchange/sbom.cdx.json /opt/exchange/bin/python \
    && /opt/exchange/bin/python -I -m sidecar.build_facts "${VERSION}" "${REVISION}" "${CREATED}"


FROM python:3.13-slim-trixie${PYTHON_DIGEST:+@${PYTHON_DIGEST}}
ARG VERSION="0.1.0"
ARG REVISION=""
ARG CREATED=""
ARG SOURCE=""
LABEL org.opencontainers.image.title="exchange-sidecar" \
      org.opencontainers.image.description="Keeps Microsoft Exchange room calendars in step, behind a gRPC API." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"

# The base's own installer goes, since nothing may be installed into what runs. A number and no name for the owner:
# Kubernetes can check runAsNonRoot only on numbers.
RUN python -B -m pip uninstall --quiet --yes --root-user-action=ignore pip \
    && rm -rf /usr/local/lib/python3.13/ensurepip \
    && install --directory --owner 65532 --group 65532 --mode 0750 /var/lib/exchange /run/exchange
COPY --from=build /opt/exchange /opt/exchange

# The probe listener is on loopback unless told otherwise; the health check below asks it there.
ENV PATH=/opt/exchange/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    EXCHANGE_PROBES__LISTEN=127.0.0.1:9464

# What is used is compiled here, the standard library's part too, because a read-only root cannot keep what Python would
# compile at each start. The rest, nearly half, stays as it is.
RUN unset PYTHONDONTWRITEBYTECODE \
    && python -I -m sidecar.warm_up \
    && EXCHANGE_STORE__PATH=/tmp/build.sqlite3 exchange-sidecar migrate \
    && rm -rf /tmp/build.sqlite3*

USER 65532:65532
# The only places that are written to; as volumes they stay writable under a read-only root.
VOLUME ["/var/lib/exchange", "/run/exchange", "/tmp"]
EXPOSE 50551 8080 9464

# Ready means that the service can answer its callers. Docker and Compose use this; Kubernetes has its own probes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["exchange-sidecar", "probe", "ready"]

ENTRYPOINT ["exchange-sidecar"]
CMD ["serve"]
