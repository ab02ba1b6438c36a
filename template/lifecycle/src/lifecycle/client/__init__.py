"""A client of the service for whoever asks it: typed from the contract, a wheel of its own without the lifecycle."""
