"""The demo: a drive through the simulated street, and the node that watches and scores the answers."""
