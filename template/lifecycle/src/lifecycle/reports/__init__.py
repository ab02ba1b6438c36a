"""Pages for people, and the files in which jobs leave results for each other."""
