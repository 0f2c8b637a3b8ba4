"""`irer-witness`: a small program of its own that cosigns checkpoints and never signs a log's history backwards."""
