"""`python -m mpdd` is `mpdd`."""

from mpdd.cli import main

main()
