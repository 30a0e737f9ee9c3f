"""Tasks, their readers, and the batches made from them."""
