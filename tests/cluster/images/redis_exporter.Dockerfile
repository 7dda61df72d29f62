# The exporter of Redis for test clusters that reach no image registry: Debian's package, with the user and path of the
# public image.
ARG BASE=docker.io/library/debian:bookworm-slim
FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus-redis-exporter \
    && rm -rf /var/lib/apt/lists/* && ln -s /usr/bin/prometheus-redis-exporter /redis_exporter
USER 59000:59000
ENTRYPOINT ["/redis_exporter"]
