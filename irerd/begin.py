"""Where the program `irerd` begins. Loading the rest takes a part of a second, in which SIGHUP would by default be the end of it:
here it is held back first, and reaches `irerd.main` once somebody hears it. Must import nothing else before that.
"""

import signal


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from irerd.main import main as go_on

    go_on()


if __name__ == "__main__":
    main()
