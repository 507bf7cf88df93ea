"""``python -m klein_doctor``."""

import sys

from klein_doctor.cli import main

if __name__ == "__main__":
    sys.exit(main())
