"""The demo: real flights, a real cluster, and the whole loop told while it happens (`python -m demo`, `make demo`).

`flights` makes the data, `ground` gets the cluster ready (cluster, images, operator, store), `kubectl` is the only way in that
the story uses, `traffic` plays the client, `view` turns objects into words and tables (pure), `story` is the plot.
"""
