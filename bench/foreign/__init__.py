"""Methods that are not this project's: measured in a process of their own, and watched."""
