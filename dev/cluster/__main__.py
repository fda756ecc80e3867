"""`python -m cluster`: hands over to the command line in cli."""

from cluster.cli import main

if __name__ == "__main__":
    main()
