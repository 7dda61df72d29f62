# The gateway of Paddle Serving on GPUs: docs/gpu.md. BASE contains CUDA 11.8 and cuDNN 8.6, and can be a digest.
# The build context is the repository.
ARG BASE=docker.io/nvidia/cuda:11.8.0-cudnn8-runtime-ubuntu22.04

FROM ${BASE} AS python
# Ubuntu 22.04 has Python 3.10; package versions are those of the base image.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && ln -s /usr/bin/python3 /usr/local/bin/python

FROM python AS packages
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-pip \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY requirements/paddle-serving-gpu.txt image.txt
RUN pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: --target /packages -r image.txt

FROM python
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="recmesh paddle-serving-gpu" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=packages /packages /packages
WORKDIR /app
COPY docker/serve.py ./
COPY services services
COPY recmesh recmesh
RUN python -m compileall -q .
ENV RECMESH_SERVICE=rank.paddle_serving \
    RECMESH_HOST=:: \
    RECMESH_HOME=/var/lib/recmesh \
    HOME=/tmp \
    PYTHONPATH=/packages \
    PYTHONDONTWRITEBYTECODE=1
USER 1000:0
ENTRYPOINT ["python", "serve.py"]
