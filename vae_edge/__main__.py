"""The command ``vae-edge``, and ``python -m vae_edge``."""

import signal


def main() -> None:
    """Import the command line and run it. Ctrl-C during the import ends the process without a traceback."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from vae_edge.cli import main as run

    signal.signal(signal.SIGINT, handler)
    run()


if __name__ == "__main__":
    main()
