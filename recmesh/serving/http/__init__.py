"""The same methods by HTTP: the Connect protocol, with protobuf messages as JSON (docs/http.md)."""
