"""`python -m fedmi.estimate`: see `fedmi.commands.estimate`."""

from fedmi import commands

if __name__ == "__main__":
    commands.run(commands.estimate)
