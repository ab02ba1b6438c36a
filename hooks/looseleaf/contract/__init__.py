"""From a file and a label to a contract: what `make contract DATA=… LABEL=…` runs."""
