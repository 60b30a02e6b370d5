"""The meter: holds what a call may cost before it is made, and settles what it cost after it. See `meter.py`."""
