"""`python -m lifecycle COMMAND`."""

import sys

from lifecycle.cli.entry import main

sys.exit(main())
