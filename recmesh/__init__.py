"""recmesh: a recommender of gRPC services on Redis and Milvus, and its client.

The core installation has what `recmesh.client` needs. Everything else needs an extra, such as `pip install
'recmesh[cli]'`; pyproject.toml lists them.
"""

__version__ = "0.1.0"
"""The version of recmesh. The wheel, the images and the chart all take it from here."""

__all__ = ["__version__"]
