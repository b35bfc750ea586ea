"""Whether frames and scores still are what they were: pure statistics, no torch, cheap enough for the line's machine."""
