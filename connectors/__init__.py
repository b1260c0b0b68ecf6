"""The outside: one file here is one external system. `connectors.catalog` finds them."""
