"""`python -m fedmi.sample`: see `fedmi.commands.sample`. The function is `fedmi.sample`."""

if __name__ != "__main__":  # the function of this name must not be hidden by a module
    raise ImportError("fedmi.sample is a function; the module is for `python -m fedmi.sample`")

from fedmi import commands

commands.run(commands.sample)
