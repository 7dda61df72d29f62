"""The same methods over HTTP: the Connect protocol, with protobuf messages as JSON (docs/http.md)."""
