"""What a replica refuses."""


class ProposalDropped(Exception):
    """The proposal won't be in the log: there is no leader to take it, or it has no room now."""

    def __init__(self) -> None:
        super().__init__("raft proposal dropped")


class StepError(Exception):
    """The message can't be from an honest member of this group.

    It was ignored, but for a higher term in it, which is followed.
    """
