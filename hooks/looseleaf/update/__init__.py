"""An update of a rendered repository: tried in a throw-away clone, reported, and applied only where it is safe."""
