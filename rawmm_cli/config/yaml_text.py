"""YAML that cannot surprise: safe, 1e-4 is a number, 010 and 1:30 and yes are what they look like, nothing is
given twice."""

import re
from typing import Any

import yaml

from ..system.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Safe YAML in which 1e-4 is a number, and duplicate keys and aliases are errors."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if repeated := {str(key) for key in keys if keys.count(key) > 1}:
            raise yaml.YAMLError(f"key given twice: {', '.join(sorted(repeated))}")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9]+|[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)
_INT, _BOOL = "tag:yaml.org,2002:int", "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    # yes, no, on and off are words; 010 is not octal and 1:30 is not ninety; integers come before the wider
    # float pattern
    first: [(_INT, re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"))] * (first in "-+0123456789")
    + [pair for pair in resolvers if pair[0] != _INT and (pair[0] != _BOOL or first in "tTfF")]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


class _Dumper(yaml.SafeDumper):
    """Quotes every string that `_Loader` would read as something else."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def parse_yaml(text: str, what: str) -> Any:
    """YAML text -> Python. Raises ConfigError in one line. At most 1 MB."""
    if len(text) > 1_000_000:
        raise ConfigError(f"{what} has {len(text):,} characters; allowed: 1,000,000")
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        reason = getattr(error, "problem", None) or str(error) or type(error).__name__
        raise ConfigError(f"{what} is not valid YAML: {' '.join(str(reason).split())}") from None


def dump_yaml(values: dict) -> str:
    """Python -> YAML text that `parse_yaml` reads back equal."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
