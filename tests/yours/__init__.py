"""Yours: tests of your own api.py, schedule.py and tasks.py. Change them together."""
