"""From records to pages of the book."""

from asteroid.book.pages import DEFAULT_PROFILE, NotebookError, begin, in_one_line, make_pages, pages_of
from asteroid.book.stamps import banner, keep, stamp
from asteroid.files import in_words, root
