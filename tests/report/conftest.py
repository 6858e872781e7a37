from command_world import cli as cli
from command_world import world as world
