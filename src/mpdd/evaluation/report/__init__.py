"""The page that shows a run: tables, plots and words, in one file that loads nothing."""
