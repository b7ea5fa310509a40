"""What runs inside app, beat and worker. Nothing here imports your files."""
