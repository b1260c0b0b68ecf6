"""What the pages show: queries, and the values made of them. A constant number of queries per page."""
