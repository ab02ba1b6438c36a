"""Who is responsible for what: OWNERS, approvals and the files derived from it."""
