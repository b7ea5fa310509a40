"""What the machinery's tests run for api.py, schedule.py and tasks.py: see ../package.py."""
