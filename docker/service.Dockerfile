# One service, or the five that answer in one process: --build-arg SERVICE=um (cm, recall, rank, as, feed, compact).
# BASE can be a digest. The build context is the repository.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS kernels
WORKDIR /build
COPY requirements/build.txt requirements/
RUN pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: -r requirements/build.txt
COPY recmesh/kernels recmesh/kernels
RUN python recmesh/kernels/build.py

FROM ${BASE} AS packages
ARG SERVICE
WORKDIR /build
COPY requirements/images/${SERVICE}.txt image.txt
RUN pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: --prefix /packages -r image.txt

FROM ${BASE}
ARG SERVICE
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="recmesh ${SERVICE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=packages /packages /usr/local
WORKDIR /app
COPY docker/serve.py ./
COPY services services
COPY recmesh recmesh
COPY --from=kernels /build/recmesh/kernels recmesh/kernels
# Compile now, because the root file system is read-only at run time.
RUN python -m compileall -q .
ENV RECMESH_SERVICE=${SERVICE} \
    RECMESH_HOST=:: \
    RECMESH_HOME=/var/lib/recmesh \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1
# Any user works, as long as its group is 0.
USER 1000:0
ENTRYPOINT ["python", "serve.py"]
