"""Events in: parse, call, commit. Facts and alerts come through the bus, traffic through Faust."""
