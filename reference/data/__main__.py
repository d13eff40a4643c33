import sys

from reference.data.command import main

if __name__ == "__main__":
    sys.exit(main())
