# The gateway of Paddle Serving, on CPUs. BASE can be a digest. The build context is the repository.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS packages
WORKDIR /build
COPY requirements/paddle-serving.txt image.txt
RUN pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: --prefix /packages -r image.txt

FROM ${BASE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="recmesh paddle-serving" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=packages /packages /usr/local
# libgomp runs Paddle's threads; its version is that of the base image.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY docker/serve.py ./
COPY services services
COPY recmesh recmesh
RUN python -m compileall -q .
ENV RECMESH_SERVICE=rank.paddle_serving \
    RECMESH_HOST=:: \
    RECMESH_HOME=/var/lib/recmesh \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1
USER 1000:0
ENTRYPOINT ["python", "serve.py"]
