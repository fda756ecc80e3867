"""Perennial: a Kubernetes operator that retrains, judges, serves and rolls back machine-learning models."""

__version__ = "0.1.0"
"""As in pyproject.toml and in the charts (a test holds them to it). A constant, because looking up metadata is slow."""
