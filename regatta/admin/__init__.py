"""What operators see of a node: a port of their own with metrics, health and readiness."""

from regatta.admin.port import Admin
from regatta.admin.view import Node
from regatta.admin.view import View

__all__ = ["Admin", "Node", "View"]
