"""Real ext4 file systems of our own, on an image in a file: they can lose their power, and the medium below them can be full.

Only root may mount one, and only where loop devices exist; `unmountable` says why it cannot be had here.
"""

import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path

MIB = 1 << 20
EXT4_IOC_SHUTDOWN = 0x8004587D
WITHOUT_THE_JOURNAL = 2
"""What was not on the medium at this moment never comes there."""


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")


def unmountable(place: Path) -> str:
    """Why no file system of our own can be mounted, or nothing."""
    if os.geteuid() != 0:
        return "only root may mount a file system"
    if missing := [name for name in ("mkfs.ext4", "losetup", "mount") if shutil.which(name) is None]:
        return f"{', '.join(missing)} missing (Debian packages e2fsprogs, mount)"
    trial = Disk(place / "trial")
    try:
        trial.make(32)
        trial.mount()
    except OSError as error:
        return f"no loop device or ext4 here ({error})"
    finally:
        trial.discard()
    return ""


class Disk:
    """One image and where it is mounted."""

    def __init__(self, place: Path, image: Path | None = None) -> None:
        self.place = place
        self.image = image or place.with_suffix(".img")
        self.mounted = False
        place.mkdir(exist_ok=True)

    def make(self, mib: int) -> None:
        with open(self.image, "wb") as file:
            file.truncate(mib * MIB)
        run("mkfs.ext4", "-q", "-F", "-b", "4096", "-N", "1024", "-J", "size=4", str(self.image))

    def mount(self) -> None:
        run("mount", "-o", "loop", str(self.image), str(self.place))
        self.mounted = True

    def umount(self) -> None:
        run("umount", str(self.place))
        self.mounted = False

    def cut_power(self) -> None:
        root = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(root, EXT4_IOC_SHUTDOWN, struct.pack("I", WITHOUT_THE_JOURNAL))
        finally:
            os.close(root)

    def discard(self) -> None:
        """Whatever state it is in."""
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.place)], capture_output=True, check=False)
            self.mounted = False
        self.image.unlink(missing_ok=True)
