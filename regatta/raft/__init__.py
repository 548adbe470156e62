"""Agreement: what a group's replica decides, without clock, disk, socket or chance."""
