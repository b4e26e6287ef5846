"""Stop at once, with one sentence, where the embedded default cannot run.

Any Python can run this file, however old: it is the first thing that `make` calls.
"""

import platform
import shutil
import sys

SENTENCE = (
    "Chronos needs Linux on x86-64 with CPython 3.11 or 3.12 (with venv) and make, nothing else; "
    "CPython 3.13, arm64 and macOS need a redis-server or valkey-server on the PATH."
)


def is_supported():
    """Tell whether this machine and Python are ones that Chronos runs on."""
    if platform.python_implementation() != "CPython":
        return False
    version = sys.version_info[:2]
    if version < (3, 11) or version > (3, 13) or sys.platform not in ("linux", "darwin"):
        return False
    if platform.machine() not in ("x86_64", "arm64", "aarch64"):
        return False
    at_home = version < (3, 13) and sys.platform == "linux" and platform.machine() == "x86_64"
    return bool(at_home or shutil.which("redis-server") or shutil.which("valkey-server"))


def main():
    """Exit with 1 and the sentence where the platform is not supported."""
    if not is_supported():
        sys.exit(
            "%s This is %s on %s %s."
            % (
                SENTENCE,
                platform.python_version(),
                platform.system(),
                platform.machine(),
            )
        )


if __name__ == "__main__":
    main()
