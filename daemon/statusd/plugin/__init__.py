"""What plugins see, and what contains them."""
