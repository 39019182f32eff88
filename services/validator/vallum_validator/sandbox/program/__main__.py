"""Entry point: `python -m vallum_validator.sandbox.program`, started by `sandbox.child` and by nothing else."""

from vallum_validator.sandbox.program.answer import main

if __name__ == "__main__":
    main()
