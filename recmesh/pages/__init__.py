"""HTML pages: the frame, style and plots that the report of a training and the check of a data set share.

A page is a single file without scripts and external resources, for light and dark displays.
"""

from recmesh.pages.environment import environment

__all__ = ["environment"]
