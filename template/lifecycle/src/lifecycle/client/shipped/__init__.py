"""The part of every client that no contract changes. Here it is linted, typed and tested; the wheel holds a copy."""
