"""`python -m lifecycle VERB`."""

import sys

from lifecycle.cli.entry import main

sys.exit(main())
