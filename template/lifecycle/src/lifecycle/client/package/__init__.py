"""The part of every client that does not depend on the contract; a client contains a copy of it."""
