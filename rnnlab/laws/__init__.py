"""The laws that every member of a group obeys: of our own options, and of a component of your own.

    from rnnlab.laws import check
    check(MyClipping, {"max_norm": 1.0})       # or as its YAML has it: {"_target_": "mine.clip.MyClipping", ...}

One idea per file: `law` says what a law is, `written` has those of every signature, `knobs` and `training` those of
every group, and each other file those of the group that it is called after.
"""

from rnnlab.laws.checking import check
from rnnlab.laws.law import LawError

__all__ = ["LawError", "check"]
