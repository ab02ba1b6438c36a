"""The commands of the template's maintainer: manifest, demo, releases. No repository needs them or installs them."""
