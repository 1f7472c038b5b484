"""The version of the package: the build reads it from here, and so nobody has to look for it at run time."""

VERSION = "0.1.0"
