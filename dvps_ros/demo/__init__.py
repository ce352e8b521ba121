"""The demo: a drive through the simulated street, and the observer node, which records and scores the answers."""
