"""What is measured, one part in each module: a function that takes the stage and leaves runs in its document."""
