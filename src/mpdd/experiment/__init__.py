"""An experiment from its file to its table: configuration, run folder, stages, cells of the comparison, and estimates."""
