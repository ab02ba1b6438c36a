"""From labelled rows to an evaluated bundle, and the gate that decides about it."""
