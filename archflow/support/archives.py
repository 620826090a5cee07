"""Zip files that may be damaged."""

import zipfile
import zlib

ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError, UnicodeDecodeError),
)
"""What ``zipfile`` raises where a file is no zip file, or a damaged one, when it is opened and when it is read."""
