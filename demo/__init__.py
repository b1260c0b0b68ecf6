"""A customer database and a sheet to try Syncline with: their contents, and the demo that runs on them."""
