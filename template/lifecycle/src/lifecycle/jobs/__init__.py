"""Jobs that combine the other packages: check, promote, materialize features."""
