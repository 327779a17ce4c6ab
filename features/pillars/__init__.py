"""The six sides of a customer relationship, and "other" for what no side knows."""
