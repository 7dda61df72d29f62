"""Tests of training and of imported models."""
