"""What runs the deliveries of a child that runs many at a time."""
