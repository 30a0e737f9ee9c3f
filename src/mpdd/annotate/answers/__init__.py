"""Answers to notes as typed values: read from what `mpdd predict` wrote, shown as HTML, cut into tokens. No torch."""
