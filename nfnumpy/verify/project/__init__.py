"""What of a repository can be checked, found by reading its sources; nothing of it is imported or run.

    for finding in nfnumpy.verify.project.search("path/to/repository").findings:
        print(finding.target, finding.kind, finding.why)
"""

from .findings import Finding, Search, search

__all__ = ["Finding", "Search", "search"]
