"""twinwatch: finds copies of pictures, exact or edited, in watched folders."""

__version__ = "0.1.0"
