import os

def check_pages(directory: str | os.PathLike[str]) -> int:
    """Go through all trees and the free list of an environment that nobody has open.

    Returns how many pages are in use or free. Raises StartError, which names the first bad page.
    """
