"""The default-deny pickle machine: what a pickle would name, call and change, without doing it.

`machine` follows the opcodes with the stack and memo of CPython, `opcodes` and `objects` say what each does, `judge`
holds every event against the allow-lists, `streams` finds the pickles in a file. Nothing here imports or calls anything
a pickle names.
"""
