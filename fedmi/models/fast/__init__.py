"""The plain networks' functions in layouts that are fast on a CPU; tests hold them to the plain
ones."""
