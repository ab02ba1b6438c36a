"""Jobs that combine the other packages: promote, retrain, materialize features."""
