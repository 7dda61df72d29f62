#!/bin/sh
# Runs Milvus, and ends it when its certificate changes: Milvus reads the files only when it starts, and Kubernetes then
# starts it again.
set -eu

certificate() {
  cat /etc/milvus-tls/tls.crt /etc/milvus-tls/ca.crt 2> /dev/null | cksum
}

mkdir -p "$ETCD_DATA_DIR" "$LOCALSTORAGE_PATH" "$ROCKSMQ_PATH"
before=$(certificate)
milvus run standalone &
milvus=$!
trap 'kill -TERM "$milvus"' TERM INT
while kill -0 "$milvus" 2> /dev/null; do
  sleep 10 &
  wait $! || true
  if [ "$(certificate)" != "$before" ]; then
    echo 'the certificate has changed: Milvus ends to read it'
    kill -TERM "$milvus"
    break
  fi
done
wait "$milvus"
