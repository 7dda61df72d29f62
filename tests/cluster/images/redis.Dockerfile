# Redis for test clusters that reach no image registry: Debian's package, with the user and folder of the public image.
ARG BASE=docker.io/library/debian:bookworm-slim
FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends redis-server && rm -rf /var/lib/apt/lists/*
USER 999:1000
WORKDIR /data
CMD ["redis-server"]
