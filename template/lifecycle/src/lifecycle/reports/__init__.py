"""Pages for people, and the files in which jobs leave their results for each other."""
