"""Doubly linked lists whose links lie inside their members: any list is left in one step."""

cdef struct Link:
    Link *before
    Link *after
    void *owner                 # the member that the link lies in; NULL in a list's head


cdef inline void link_init(Link *link, void *owner) noexcept nogil:
    """Make a link that is in no list, or with no owner an empty list's head."""
    link.before = link
    link.after = link
    link.owner = owner


cdef inline bint link_alone(const Link *link) noexcept nogil:
    """Say whether a link is in no list, or a head's list is empty."""
    return link.after == link


cdef inline void link_append(Link *head, Link *link) noexcept nogil:
    """Put *link* at the end of the list, unless it is in one."""
    if link.after != link:
        return
    link.before = head.before
    link.after = head
    head.before.after = link
    head.before = link


cdef inline void link_remove(Link *link) noexcept nogil:
    """Take *link* out of its list, if it is in one."""
    link.before.after = link.after
    link.after.before = link.before
    link.before = link
    link.after = link
