"""The whole method in minutes, with no configuration: real public data if reachable, else synthetic notes."""
