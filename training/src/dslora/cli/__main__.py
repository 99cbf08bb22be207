"""``python -m dslora.cli``."""

import sys

from dslora.cli import main

sys.exit(main())
