"""Where the pieces meet: push, change, build, check, history, gc."""
