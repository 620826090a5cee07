"""Zip files that may be damaged."""

import zipfile
import zlib

ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError, UnicodeDecodeError),
)
"""What ``zipfile`` raises on opening or reading a file that is damaged or not a zip file."""
