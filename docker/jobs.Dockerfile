# The jobs: --build-arg JOB=train, or JOB=ingest, which also contains the client, the operator's command line and the
# explorer.
# BASE can be a digest. The build context is the repository.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS kernels
WORKDIR /build
COPY requirements/build.txt requirements/
RUN pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: -r requirements/build.txt
COPY recmesh/kernels recmesh/kernels
RUN python recmesh/kernels/build.py

FROM ${BASE} AS packages
ARG JOB
WORKDIR /build
COPY requirements/images/${JOB}.txt image.txt
RUN pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: --prefix /packages -r image.txt

FROM ${BASE}
ARG JOB
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="recmesh ${JOB}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=packages /packages /usr/local
# libgomp runs Paddle's threads; its version is that of the base image.
# hadolint ignore=DL3008
RUN if [ "${JOB}" = train ]; then \
        apt-get update \
        && apt-get install --yes --no-install-recommends libgomp1 \
        && rm -rf /var/lib/apt/lists/*; \
    fi
WORKDIR /app
COPY client.py ./
COPY jobs jobs
COPY recmesh recmesh
COPY --from=kernels /build/recmesh/kernels recmesh/kernels
RUN python -m compileall -q .
ENV RECMESH_HOME=/var/lib/recmesh \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1
USER 1000:0
# The argument is a module: jobs.train, jobs.ingest, jobs.archive, jobs.data, jobs.controller, recmesh, recmesh.dataset or client.
ENTRYPOINT ["python", "-m"]
