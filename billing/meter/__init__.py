"""The meter: what a call may cost is held before it, what it cost is settled after it. See `meter.py`."""
