"""``python -m vae_edge``."""

from vae_edge.cli import main

if __name__ == "__main__":
    main()
