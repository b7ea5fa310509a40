"""What runs in the contenders' own environments: a module for each, and what these share."""
