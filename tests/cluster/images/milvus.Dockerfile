# Milvus standalone for test clusters that reach no image registry: the server from the wheel, with its program,
# libraries and configuration where the public image has them.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS wheel
WORKDIR /build
COPY requirements/images/milvus.txt ./
COPY tests/cluster/images/milvus.py ./
RUN pip install --no-cache-dir --no-deps --require-hashes --target wheel -r milvus.txt \
    && python milvus.py wheel/milvus/data /milvus

FROM ${BASE}
COPY --from=wheel /milvus /milvus
ENV PATH=/milvus/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LD_LIBRARY_PATH=/milvus/lib:/usr/lib
WORKDIR /milvus
CMD ["milvus", "run", "standalone"]
