from typing_extensions import disjoint_base

@disjoint_base
class CallSink:
    """Answers calls natively; the methods are C-level and described in _sink.pxd."""
