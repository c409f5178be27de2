"""`rawmm`, and `python -m rawmm_cli`: Ctrl-C is looked after before anything else is imported."""

from .system import interrupts

if __name__ == "__main__":
    interrupts.install()


def main() -> None:
    """Run the command line."""
    interrupts.install()
    from .system.threads import process_began

    began = process_began()
    from .cli import main

    try:
        main(began)
    finally:
        interrupts.over()


if __name__ == "__main__":
    main()
