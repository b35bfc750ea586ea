"""Whether frames and scores still are what they were: pure statistics, cheap enough for the line's machine."""
