"""What happens to a store in the course of years: built, in force, collected, erased, moved."""
