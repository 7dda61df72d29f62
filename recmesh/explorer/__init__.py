"""The explorer: web pages that show how the running mesh answers a request, stage by stage.

`answers` runs the chain once more with stages that keep what they saw (`recorder`), and `app` shows it. It only reads.
"""
