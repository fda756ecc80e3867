"""What the cluster suites share: a small honest data set (`synthetic`) and a test's own place in the cluster (`place`).

The fixtures are in tests/cluster/conftest.py. The way to the cluster itself is `demo.ground`, which the demo uses too.
"""
