"""The Python API, by what it does; `mpdd` itself offers these names without loading them before they are used."""
