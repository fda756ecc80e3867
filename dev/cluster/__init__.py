"""The embedded two-node Kubernetes cluster that the demo and the cluster tests run on.

`python -m cluster --help` teaches the commands; `cluster.api.Cluster` is the same for Python. Everything is built from Go
modules, Debian packages and wheels into a cache, and runs in network namespaces of its own. docs/cluster.md explains it.
"""
