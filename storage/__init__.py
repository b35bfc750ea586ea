"""The shared vocabulary: errors, events, rows; and where they are kept."""
