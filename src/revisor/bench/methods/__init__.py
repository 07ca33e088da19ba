"""What is measured, and what it is measured against: published methods from their equations."""
