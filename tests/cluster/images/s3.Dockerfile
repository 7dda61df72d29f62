# An s3 server for test clusters that reach no image registry: moto, started as in its public image.
ARG BASE=docker.io/library/python:3.11-slim-bookworm
FROM ${BASE}
COPY requirements/s3-server.txt /tmp/
RUN pip install --no-cache-dir --no-deps --require-hashes -r /tmp/s3-server.txt
EXPOSE 5000
ENTRYPOINT ["moto_server", "-H", "0.0.0.0"]
