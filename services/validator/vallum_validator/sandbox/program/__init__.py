"""The worker's side: the only code of ours that parses an artefact or a data file, and it does so confined.

It answers frames on the pipes it was started with, one at a time, and exits when they close. It imports what the format
at hand needs and nothing else, and none of it imports the rest of the validator.
"""
