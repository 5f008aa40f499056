"""A camera and a microphone, or a file in real time."""
