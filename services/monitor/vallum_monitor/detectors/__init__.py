"""What watches traffic: each detector counts batches into a window and judges the window. Pure; no transport, no clock.

A detector states how often it raises a false alarm and is held to that by a test on traffic that has not changed.
"""
