"""Who answers for what: OWNERS read and checked, the files that follow from it, and what production asks of people."""
