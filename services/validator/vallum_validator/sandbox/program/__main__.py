"""Entry point: `python -m vallum_validator.sandbox.program`, started by `sandbox.child` and by nothing else."""

from typing import Final

from vallum_validator.sandbox.program.answer import main

_SLOTS: Final = 33_000
"""So large a frame makes Python take half a megabyte at once, in which all calls below have room.

Where calls in a loop happen to cross the end of a 16 KiB chunk, CPython to 3.14 maps and unmaps memory at each of them
(python/cpython#142183), and here each mapping is counted by the sandbox: 12,000 of them while scikit-learn is imported.
"""

if __name__ == "__main__":
    main.__code__ = main.__code__.replace(co_stacksize=_SLOTS)
    main()
