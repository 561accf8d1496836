"""`python -m statusd`."""

import sys

from statusd.cli import main

sys.exit(main())
