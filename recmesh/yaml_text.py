"""YAML whose scalars stay text, for files that people write."""

from collections.abc import Hashable
from typing import Any

import yaml


class TextLoader(yaml.BaseLoader):
    """A loader that keeps scalars as text, and refuses duplicate keys and keys that are no text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping.

        Raises:
            yaml.MarkedYAMLError: A key occurs twice, or is no text.
        """
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a text", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f'key "{key.value}" occurs twice', problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)
