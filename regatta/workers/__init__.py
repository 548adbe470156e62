"""Reader processes: they serve reads of one node beside it, each on a core of its own.

`supervisor` is the node's side, `process` is what each of them runs, `forward` hands to the node
what they can't answer, and `shared` is the memory that they have in common with it.
"""
