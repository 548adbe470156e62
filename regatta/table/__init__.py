"""Tables: the path of a read, the path of a write, and the groups behind the names."""
