"""Routes, one module per product."""
