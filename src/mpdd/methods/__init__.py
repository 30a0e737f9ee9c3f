"""The methods of the comparison: each adapts the frozen backbone to one target, on the same rows and in the same steps."""
