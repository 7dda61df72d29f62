"""Characters that paths may hold, however rare."""

STRANGE = """Bob's "shop" (new) [old] 50% %(here)s off ;# $HOME `x` {y}*?::\\ü 店😀\u3000;"""
"""A name with what shells, make, YAML, Redis, supervisord, globs and URLs take for syntax."""
