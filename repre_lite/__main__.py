"""`python -m repre_lite VERB`."""

import sys

from .cli import main

sys.exit(main())
